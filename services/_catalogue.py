"""Finding services: the modules of this package and the entry points of others become classes by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points

from services._errors import ServiceError
from services._options import ServiceOptions

GROUP = "sprintly.services"
"""The entry point group by which other packages offer services."""


def find_services(package: str, path: Iterable[str], base: type) -> dict[str, type]:
    """Return every service by name, sorted: those of the package, then those of entry points.

    Raises ServiceError, naming the module, for one that cannot be imported, breaks the contract or takes a
    name that is taken: a service that silently is not there would lose its subscriptions' deliveries.
    """
    found: dict[str, tuple[str, type]] = {}
    for name, source, load in (*_modules(package, path), *_entry_points()):
        service = _checked(name, source, _loaded(source, load), base)
        if name in found:
            raise ServiceError(f"the service {name} is offered twice: by {found[name][0]} and by {source}")
        found[name] = source, service
    return {name: found[name][1] for name in sorted(found)}


_Found = tuple[str, str, Callable[[], object]]  # name, where it comes from, how to import it


def _modules(package: str, path: Iterable[str]) -> Iterator[_Found]:
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            yield module.name, f"{package}.{module.name}", _importing(f"{package}.{module.name}")


def _importing(module: str) -> Callable[[], object]:
    return lambda: importlib.import_module(module)


def _entry_points() -> Iterator[_Found]:
    for entry in entry_points(group=GROUP):
        yield entry.name, _source(entry), entry.load


def _source(entry: EntryPoint) -> str:
    return f"{entry.value} (of the package {entry.dist.name})" if entry.dist else entry.value


def _loaded(source: str, load: Callable[[], object]) -> object:
    try:
        return load()
    except Exception as error:  # whatever a module does while it is imported
        raise ServiceError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error


def _checked(name: str, source: str, loaded: object, base: type) -> type:
    service = loaded if isinstance(loaded, type) else getattr(loaded, "Service", None)
    if not isinstance(service, type):
        raise ServiceError(f"{source} has no class named Service")
    if not issubclass(service, base):
        raise ServiceError(f"{source}: its Service is not a ServiceBase")
    if problem := _problem(name, service, base):
        raise ServiceError(f"{source}: {problem}")
    return service


def _problem(name: str, service: type, base: type) -> str | None:
    options = getattr(service, "Options", None)
    if not (isinstance(options, type) and issubclass(options, ServiceOptions)):
        return "the Options of its Service are not ServiceOptions"
    if getattr(service, "send", None) is getattr(base, "send", None):
        return "its Service has no send"
    if not getattr(service, "title", ""):
        return "the docstring of its Service has no title"
    if not getattr(service, "description", ""):
        return "the docstring of its Service has no instructions below the title"
    own = getattr(service, "name", None)
    return None if own == name else f"its Service is named {own} instead of {name}"
