"""Typed options: a mapping comes in, one frozen object goes out whose secrets never print themselves."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    SecretStr,
    ValidationError,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from services._errors import OptionsError
from services._redaction import texts_of_url


class Secret(SecretStr):
    """Text that prints as asterisks; `get_secret_value()`, where the request is made, gives it away."""


class SecretUrl(Secret):
    """An http or https address that is a secret, as incoming webhooks' are; sessions take it as it is.

    Raises ValueError, without the address in its text, for anything else.
    """

    def __init__(self, url: str) -> None:
        if problem := _url_problem(url):
            raise ValueError(problem)
        super().__init__(url)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(value),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


def _url_problem(url: object) -> str | None:
    if not isinstance(url, str):
        return "not text"
    # Parsers differ on such characters (for some a backslash ends the host), so they are refused, not mended.
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        return "white space, a control character or a backslash stands in the address"
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or port
        complete = False
    return None if complete else "not an http or https address with a host"


def reveal(value: Any) -> Any:
    """Return the text of a secret, and anything else as it is."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def secrets_of(options: BaseModel) -> Iterator[str]:
    """Yield the texts of all secrets in the options; of an address also its parts, but for the host."""
    for secret in _secrets_in(dict(options)):
        text = secret.get_secret_value()
        yield from texts_of_url(text) if isinstance(secret, SecretUrl) else (text,)


def _secrets_in(value: object) -> Iterator[SecretStr]:
    if isinstance(value, SecretStr):
        yield value
    elif isinstance(value, BaseModel):
        yield from _secrets_in(dict(value))
    elif isinstance(value, Mapping):
        yield from _secrets_in(tuple(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets_in(item)


_Address = TypeVar("_Address")


def one_or_many(one: str, many: str) -> BeforeValidator:
    """Return what makes a single value a list of one; its error calls them as given: `an address`, `addresses`."""

    def read(value: object) -> object:
        if isinstance(value, str | Secret):
            return (value,)
        if isinstance(value, list | tuple) and value:
            return value
        raise ValueError(f"neither {one} nor a list of {many}")

    return BeforeValidator(read)


def _all_different(addresses: tuple[_Address, ...]) -> tuple[_Address, ...]:
    first: dict[_Address, int] = {}
    for index, address in enumerate(addresses):
        if first.setdefault(address, index) != index:
            raise ValueError(f"numbers {first[address] + 1} and {index + 1} are the same address")
    return addresses


_ADDRESSES = one_or_many("an address", "addresses")

SecretUrls = Annotated[tuple[SecretUrl, ...], _ADDRESSES, AfterValidator(_all_different)]
"""One address or a list of different ones; always a tuple once it is read."""
Secrets = Annotated[tuple[Secret, ...], _ADDRESSES, AfterValidator(_all_different)]
"""The same for addresses that are secrets, and no http or https ones."""
Texts = Annotated[tuple[str, ...], _ADDRESSES, AfterValidator(_all_different)]
"""The same for addresses that everybody may see, as those of mailboxes."""


class ServiceOptions(BaseModel):
    """Base of every service's `Options`: unknown names are refused, nothing changes, no error shows a value.

    `destinations` names the option that lists several destinations; a subscription that gives a list there
    becomes one subscription for each, so that a dead one does not hold up the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    destinations: ClassVar[str | None] = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return options that the service can be tried with, made of its fields' `examples`; the needed ones first.

        Then come all of them, and one more for each further example of a field. To be overridden where options exclude
        each other.
        """
        given = {name: field.examples for name, field in cls.model_fields.items() if field.examples}
        every = {name: values[0] for name, values in given.items()}
        needed = {name: value for name, value in every.items() if cls.model_fields[name].is_required()}
        found = [needed, *([every] if every != needed else [])]
        return found + [{**every, name: value} for name, values in given.items() for value in values[1:]]


_Options = TypeVar("_Options", bound=ServiceOptions)


def read_options(service: str, model: type[_Options], options: object) -> _Options:
    """Return the options, a mapping or already an instance of `model`, as that model; raises OptionsError."""
    if isinstance(options, model):
        return options
    if not isinstance(options, Mapping):
        raise OptionsError(service, [("options", "is not a mapping")])
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # From None: a third party's validator may have put the value into the exception that pydantic keeps.
        raise OptionsError(service, [_problem(model, detail) for detail in details]) from None


def _problem(model: type[ServiceOptions], detail: ErrorDetails) -> tuple[str, str]:
    return _path(detail["loc"]) or "options", _sentence(model, detail)


def _path(location: Iterable[int | str]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _sentence(model: type[ServiceOptions], detail: ErrorDetails) -> str:
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"is not an option of this service{_known(model, str(detail['loc'][-1]))}"
        case "value_error":
            return f"is wrong: {detail['ctx']['error']}"
        case "union_tag_invalid":  # pydantic's text quotes the value
            return "is wrong: its kind is unknown"
        case _:
            return f"is wrong: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _known(model: type[ServiceOptions], name: str) -> str:
    names = sorted(model.model_fields)
    if close := difflib.get_close_matches(name, names, 1):
        return f"; did you mean {close[0]}?"
    return f", which has {', '.join(names)}" if names else ", which has none"
