"""Options as people read about them: a service's `Options` comes in, a line for each option goes out."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import SecretStr

from services._options import SecretUrl, ServiceOptions

_WORDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


class Option(NamedTuple):
    """One option of a service: its type in words, and whether it must be given and is a secret."""

    name: str
    type: str
    required: bool
    secret: bool
    description: str


def described(options: type[ServiceOptions]) -> list[Option]:
    """Return the options in the order in which the service declares them."""
    return [
        Option(name, _words(field.annotation), field.is_required(), _secret(field.annotation), field.description or "")
        for name, field in options.model_fields.items()
    ]


def _words(annotation: Any) -> str:
    """Return the type for people: those of a union by `or`, a list's by that of its items."""
    parts = _parts(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(str(part) for part in parts)
    if get_origin(annotation) in (tuple, list):
        return f"{_words(parts[0])}, or a list of them"
    if parts:
        return " or ".join(_words(part) for part in parts)
    if isinstance(annotation, type) and issubclass(annotation, SecretStr):
        return "address" if issubclass(annotation, SecretUrl) else "text"
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr):
        return True
    return any(_secret(part) for part in _parts(annotation))


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return what a type is made of, without None and `...`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return get_args(annotation)[:1]
    if origin in (Union, types.UnionType, tuple, list, Literal):
        return tuple(part for part in get_args(annotation) if part not in (type(None), ...))
    return ()
