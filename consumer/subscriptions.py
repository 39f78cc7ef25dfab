"""Subscriptions: a YAML text comes in, checked and frozen subscriptions with their services go out, in file order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from consumer.errors import ConfigurationError
from consumer.references import Local, Sources, expand
from consumer.strictyaml import read_yaml, shown
from services import (
    OptionsError,
    RecordingSession,
    ServiceBase,
    ServiceError,
    ServiceOptions,
    get_available_services,
    is_glob,
    matches,
    reveal,
)

Services = Mapping[str, type[ServiceBase]]
_T = TypeVar("_T")

FIELDS = ("id", "product", "service", "events", "options", "order", "enabled")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
DIVIDER = "#"
"""It is in no `ID`: it divides the id in the file from the destination in the ids made of it."""
LARGEST = 32 * 1024 * 1024
"""Bytes of a file: 100,000 subscriptions of 300 bytes each."""
MOST_TOLD = 100
"""Problems that are told one by one."""
_FILE = "subscriptions file"


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """A product's enabled service with its options; `product` None stands for all products.

    `events` None leaves it to the service which events it wants; `ordered` is whether events with the same record key
    arrive in order. The service records what it would send and sends nothing itself; of one that is `blocking` this
    instance only shows that its options fit, and its attempts run on instances of their own.
    """

    id: str
    product: int | None
    service: ServiceBase
    events: tuple[str, ...] | None = None
    ordered: bool = True
    enabled: bool = True

    def wants(self, model: str, action: str) -> bool:
        """Return whether it wants such events, whatever their product."""
        return matches(self.service.events if self.events is None else self.events, model, action)

    def concerns(self, product: int, model: str, action: str) -> bool:
        """Return whether it wants such events of a product."""
        return self.product in (None, product) and self.wants(model, action)


def load_subscriptions(
    path: str | Path,
    environ: Mapping[str, str],
    services: Services | None = None,
    *,
    opened: set[Path] | None = None,
) -> tuple[Subscription, ...]:
    """Return the subscriptions of a YAML file; raises ConfigurationError with everything that is wrong.

    `environ` is where variables in options are looked up, paths in them are relative to the file's folder; `services`
    are all that are available unless given. `opened` gets the paths of files that options refer to.
    """
    text = _read(path, _FILE, "; SPRINTLY_SUBSCRIPTIONS says which one is read")
    sources = Local(environ, Path(path).parent, opened)
    return _subscriptions(_entries(text, sources, services, str(path)))


def read_file(path: str | Path) -> str:
    """Return the text of a subscriptions file. Raises ConfigurationError."""
    return _read(path, _FILE)


def load_options(
    path: str | Path, service: str, environ: Mapping[str, str], services: Services | None = None
) -> tuple[Subscription, ...]:
    """Return what a subscription for all products with the options in a YAML or JSON file would be.

    That is one for each destination. Raises ConfigurationError with everything that is wrong.
    """
    values, problems = read_yaml(_read(path, "options file"))
    if problems:
        raise _wrong(str(path), problems)
    sources = Local(environ, Path(path).parent)
    return subscribe(service, {} if values is None else values, sources, services, source=str(path))


def subscribe(
    service: str, options: object, sources: Sources, services: Services | None = None, *, source: str
) -> tuple[Subscription, ...]:
    """Return the subscriptions, named for the service, that its options make; raises ConfigurationError."""
    values = {"id": service, "product": "*", "service": service, "options": options}
    entry = _Entry(values, sources, available() if services is None else services)
    found = entry.subscriptions()
    if entry.problems:
        raise _wrong(source, entry.problems)
    return tuple(found)


def _wrong(source: str, problems: Sequence[str]) -> ConfigurationError:
    told = [f"{source}: {problem}" for problem in problems[:MOST_TOLD]]
    if len(problems) > MOST_TOLD:
        told.append(f"{source}: and {len(problems) - MOST_TOLD:,} more problems")
    return ConfigurationError(*told)


def _read(path: str | Path, what: str, hint: str = "") -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigurationError(f"{path}: the {what} is larger than {LARGEST >> 20} MiB")
        return content.decode()
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such {what}{hint}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: the {what} is not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: the {what} cannot be read: {error.strerror}") from None


def parse_subscriptions(
    text: str,
    environ: Mapping[str, str],
    services: Services | None = None,
    *,
    source: str = "subscriptions.yaml",
    folder: Path = Path(),
) -> tuple[Subscription, ...]:
    """Return the subscriptions of a YAML text; raises ConfigurationError with a sentence for each problem.

    Each sentence begins with `source` and names the subscription, by its position where it has no usable id, and the
    field. No sentence holds a value of an option, of the environment or of a file.
    """
    return _subscriptions(parse_entries(text, environ, services, source=source, folder=folder))


def entry_of(id_: str) -> str:
    """Return the id that a subscription has where it was written, without its destination."""
    return id_.partition(DIVIDER)[0]


class Entry(NamedTuple):
    """One item of the list: its fields, with the options as they are once references are replaced, and what it makes.

    That is one subscription, or one for each destination.
    """

    fields: Mapping[str, Any]
    subscriptions: tuple[Subscription, ...]


def parse_entries(
    text: str,
    environ: Mapping[str, str],
    services: Services | None = None,
    *,
    source: str,
    folder: Path,
) -> tuple[Entry, ...]:
    """Return the items of a YAML text; raises ConfigurationError as `parse_subscriptions` does."""
    return _entries(text, Local(environ, folder), services, source)


def _entries(text: str, sources: Sources, services: Services | None, source: str) -> tuple[Entry, ...]:
    document, problems = read_yaml(text)
    reader = _Reader(sources, available() if services is None else services)
    if document is not None or not problems:
        reader.read(document)
    if problems := [*problems, *reader.problems]:
        raise _wrong(source, problems)
    return tuple(reader.entries)


def _subscriptions(entries: Iterable[Entry]) -> tuple[Subscription, ...]:
    return tuple(subscription for entry in entries for subscription in entry.subscriptions)


def read_entry(fields: dict[Any, Any], sources: Sources, services: Services) -> tuple[Entry, list[str]]:
    """Return what one item makes, nothing if it has problems, and a sentence for each of these."""
    entry = _Entry(fields, sources, services)
    subscriptions = tuple(entry.subscriptions())
    return Entry(entry.resolved, subscriptions), entry.problems


def available() -> Services:
    """Return all services that there are. Raises ConfigurationError for one that cannot be loaded."""
    try:
        return get_available_services()
    except ServiceError as error:
        raise ConfigurationError(str(error)) from error


class _Reader:
    """Goes through a whole document and gathers its items and problems."""

    def __init__(self, sources: Sources, services: Services) -> None:
        self.entries: list[Entry] = []
        self.problems: list[str] = []
        self._sources = sources
        self._services = services
        self._positions: dict[str, int] = {}

    def read(self, document: object) -> None:
        if not isinstance(document, dict) or "subscriptions" not in document:
            self.problems.append("the file is not a mapping with the key subscriptions")
            return
        unknown = (key for key in document if key != "subscriptions")
        self.problems.extend(f"{shown(key)} is not a key of this file, which has subscriptions" for key in unknown)
        entries = document["subscriptions"]
        if not isinstance(entries, list):
            self.problems.append("subscriptions is not a list")
            return
        for position, values in enumerate(entries, 1):
            self._read_entry(position, values)

    def _read_entry(self, position: int, values: object) -> None:
        if not isinstance(values, dict):
            self.problems.append(f"subscription number {position}: it is not a mapping")
            return
        entry = _Entry(values, self._sources, self._services)
        subscriptions = tuple(entry.subscriptions())
        if entry.id is not None and (first := self._positions.setdefault(entry.id, position)) != position:
            entry.problems.append(f"id is already that of subscription number {first}")
        name = entry.id or f"number {position}"
        self.problems.extend(f"subscription {name}: {problem}" for problem in entry.problems)
        self.entries.append(Entry(entry.resolved, subscriptions))


class _Entry:
    """One item of the list, read field by field; `problems` and `resolved` are complete after `subscriptions`."""

    def __init__(self, values: dict[Any, Any], sources: Sources, services: Services) -> None:
        self.problems: list[str] = [_unknown_field(key) for key in values if key not in FIELDS]
        self.resolved = dict(values)
        self._values = values
        self._sources = sources
        self._services = services
        self.id = self._required("id", _id)

    def subscriptions(self) -> list[Subscription]:
        """Return what the entry stands for: one subscription, or one for each of its destinations."""
        product = self._required("product", _product)
        service = self._required("service", self._service)
        events = self._optional("events", _events, None)
        ordered = self._optional("order", _ordered, True)
        enabled = self._optional("enabled", _enabled, True)
        made = list(self._made(service)) if service else []
        if self.problems:
            return []
        return [Subscription(f"{self.id}{suffix}", product, bound, events, ordered, enabled) for suffix, bound in made]

    def _required(self, field: str, read: Callable[[Any], _T]) -> _T | None:
        if field not in self._values:
            self.problems.append(f"{field} is missing")
        return self._optional(field, read, None)

    def _optional(self, field: str, read: Callable[[Any], _T], default: _T) -> _T:
        if field not in self._values:
            return default
        try:
            return read(self._values[field])
        except ValueError as error:
            self.problems.append(f"{field} {error}")
            return default

    def _service(self, value: object) -> type[ServiceBase]:
        if not isinstance(value, str):
            raise ValueError("is not the name of a service")
        service = self._services.get(value)
        if service is None:
            raise ValueError(_unknown_service(value, self._services))
        return service

    def _made(self, service: type[ServiceBase]) -> Iterator[tuple[str, ServiceBase]]:
        """Yield the services with their options, each with what its destination adds to the id."""
        values = self._values.get("options", {})
        if not isinstance(values, dict):
            self.problems.append("options is not a mapping")
            return
        values, unset = expand(values, self._sources)
        self.resolved["options"] = values
        self.problems.extend(f"{_option(field)} {text}" for field, text in unset)
        try:
            options = service.read_options(values)
        except OptionsError as error:
            # What could not be expanded has been named: that it does not fit either is no news.
            unread = {_top(field) for field, _ in unset}
            told = [problem for problem in error.problems if _top(problem[0]) not in unread]
            self.problems.extend(f"{_option(field)} {text}" for field, text in told)
            return
        if not unset:
            for suffix, destination in _destinations(options, values):
                if (bound := self._bind(service, destination)) is not None:
                    yield suffix, bound

    def _bind(self, service: type[ServiceBase], options: ServiceOptions) -> ServiceBase | None:
        try:
            return service(options, RecordingSession())
        except Exception as error:  # noqa: BLE001 - a constructor of anybody's, whose text may hold a secret
            self.problems.append(f"service {service.name} cannot be made of its options: {type(error).__name__}")
            return None


def _id(value: object) -> str:
    if isinstance(value, str) and ID.fullmatch(value):
        return value
    raise ValueError(
        "is not text of up to 100 letters, digits, '.', '_', ':' and '-' that begins with one of the first two"
    )


def _product(value: object) -> int | None:
    if value == "*":
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('is neither the number of a product nor "*"')


def _events(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of globs")
    for index, glob in enumerate(value):
        if not (isinstance(glob, str) and is_glob(glob)):
            raise ValueError(
                f"has at [{index}] something else than a Model.action glob, as Item.created or *.created are"
            )
    return tuple(value)


def _ordered(value: object) -> bool:
    if value not in ("key", "none"):
        raise ValueError("is neither key nor none")
    return value == "key"


def _enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _unknown_field(key: object) -> str:
    name = shown(key)
    close = difflib.get_close_matches(name, FIELDS, 1)
    hint = f"; did you mean {close[0]}?" if close else f", which has {', '.join(FIELDS)}"
    return f"{name} is not a field of a subscription{hint}"


def _unknown_service(name: str, services: Iterable[str]) -> str:
    names, said = sorted(services), shown(name)
    close = difflib.get_close_matches(said, names, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{said} is not known{hint} (available: {', '.join(names) or 'none'})"


def _destinations(options: ServiceOptions, values: dict[Any, Any]) -> Iterator[tuple[str, ServiceOptions]]:
    """Yield the options for each destination; only a list has several, a single text keeps the subscription's id."""
    name = options.destinations
    if name is None or not isinstance(values.get(name), list):
        yield "", options
        return
    for destination in getattr(options, name):
        digest = sha256(str(reveal(destination)).encode()).hexdigest()[:8]
        yield f"{DIVIDER}{digest}", options.model_copy(update={name: (destination,)})


def _top(field: str) -> str:
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def _option(field: str) -> str:
    return field if field == "options" else f"option {shown(field)}"
