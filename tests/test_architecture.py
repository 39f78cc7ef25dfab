"""The house's rules on who may import whom, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("consumer", "services", "schemas")

# Each of these libraries is wrapped in one module (or folder of that name), which translates its errors.
WRAPPED = {
    "confluent_kafka": ("consumer.broker", "consumer.registry"),
    "pycurl": ("consumer.transport",),
    "fastavro": ("consumer.codec",),
    "apprise": ("services._apprise",),
    "cryptography": ("consumer.sealed",),
    "opentelemetry": ("consumer.tracing",),
    "watchfiles": ("consumer.watch",),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Every module that `source` imports, wherever it does, by its full name; for `from a import b` also `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = origin(node, module, is_package=is_package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and is_dynamic(node):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def origin(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The module that a `from … import` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parents = parts[: len(parts) - node.level + is_package]
    return ".".join([*parents, *([node.module] if node.module else [])])


def is_dynamic(node: ast.Call) -> bool:
    return ast.unparse(node.func) in ("__import__", "import_module", "importlib.import_module")


def within(module: str, owner: str) -> bool:
    return module == owner or module.startswith(f"{owner}.")


def sources() -> dict[str, set[str]]:
    """What each of the project's modules imports."""
    return {
        module_name(path): set(
            imports(path.read_text(encoding="utf-8"), module_name(path), is_package=path.name == "__init__.py")
        )
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


SOURCES = sources()


def test_there_is_something_to_look_at() -> None:
    assert {"consumer", "consumer.errors", "services", "schemas"} <= SOURCES.keys()


@pytest.mark.parametrize("library", WRAPPED)
def test_a_wrapped_library_is_imported_by_its_wrapper_only(library: str) -> None:
    users = {module for module, imported in SOURCES.items() if any(within(name, library) for name in imported)}
    strangers = {user for user in users if not any(within(user, owner) for owner in WRAPPED[library])}
    assert strangers == set()


@pytest.mark.parametrize("package", ["services", "schemas"])
def test_services_and_schemas_do_not_know_the_consumer(package: str) -> None:
    knowing = {
        module
        for module, imported in SOURCES.items()
        if within(module, package) and any(within(name, "consumer") for name in imported)
    }
    assert knowing == set()


def test_nothing_below_the_command_line_imports_it() -> None:
    users = {module for module, imported in SOURCES.items() if any(within(name, "consumer.cli") for name in imported)}
    assert {user for user in users if not within(user, "consumer.cli")} <= {"consumer.__main__"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import consumer.cli as c", "consumer.cli"),
        ("def f():\n    from consumer import cli", "consumer.cli"),
        ("from .cli import main", "consumer.cli"),
        ("from . import cli", "consumer.cli"),
        ("importlib.import_module('consumer.cli')", "consumer.cli"),
    ],
)
def test_no_way_to_import_is_overlooked(source: str, expected: str) -> None:
    assert expected in set(imports(source, "consumer.pipeline", is_package=False))


def test_relative_imports_of_a_package_are_its_own() -> None:
    assert "consumer.cli.demo" in set(imports("from . import demo", "consumer.cli", is_package=True))
    assert "consumer.broker" in set(imports("from ..broker import Broker", "consumer.cli.demo", is_package=False))
