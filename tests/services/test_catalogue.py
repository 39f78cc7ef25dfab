"""Finding services: real modules and real entry points, written to disk; a broken one is named, never skipped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import services
from services import ServiceError, get_available_services

GOOD = '''
from services import ServiceBase

class Service(ServiceBase):
    """
    Acme

    1. Do this:

           - indented
    """
    def send(self, payload):
        self.session.get("http://acme.example/")
'''


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]
    for name in ("made_up", "broken"):
        if hasattr(services, name):
            delattr(services, name)


@pytest.fixture
def add_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return what writes a module into the package `services`, in a directory of the test's own."""
    monkeypatch.setattr(services, "__path__", [*services.__path__, str(tmp_path)])

    def add(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(dedent(source))

    return add


@pytest.fixture
def add_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what installs a distribution with one module and one entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(entry: str, module: str, source: str, distribution: str = "sprintly-made_up") -> None:
        (tmp_path / f"{module}.py").write_text(dedent(source))
        metadata = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[sprintly.services]\n{entry}\n")

    return add


def problem() -> str:
    with pytest.raises(ServiceError) as caught:
        get_available_services()
    return str(caught.value)


def test_the_services_of_the_project() -> None:
    found = get_available_services()
    assert {"slack", "webhook"} <= set(found)
    assert list(found) == sorted(found)
    assert not any(name.startswith("_") for name in found)


def test_a_new_file_is_a_service(add_module: Callable[[str, str], None]) -> None:
    add_module("made_up", GOOD)
    add_module("_helper", "raise RuntimeError")
    made_up = get_available_services()["made_up"]
    assert (made_up.name, made_up.title) == ("made_up", "Acme")
    assert made_up.description == "1. Do this:\n\n       - indented"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "import nowhere_at_all",
            "services.broken cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        ("1 / 0", "services.broken cannot be imported: ZeroDivisionError: division by zero"),
        ("Servise = 1", "services.broken has no class named Service"),
        ("Service = 1", "services.broken has no class named Service"),
        ("class Service: pass", "services.broken: its Service is not a ServiceBase"),
        (GOOD.replace("send", "sent"), "services.broken: its Service has no send"),
    ],
)
def test_a_broken_module_is_named(add_module: Callable[[str, str], None], source: str, expected: str) -> None:
    add_module("broken", source)
    assert problem() == expected


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("", "services.broken: the docstring of its Service has no title"),
        ('"""Acme"""', "services.broken: the docstring of its Service has no instructions below the title"),
    ],
)
def test_a_service_without_words_is_named(
    add_module: Callable[[str, str], None], docstring: str, expected: str
) -> None:
    add_module(
        "broken",
        f"""
        from services import ServiceBase

        class Service(ServiceBase):
            {docstring}
            def send(self, payload):
                pass
        """,
    )
    assert problem() == expected


def test_options_have_to_be_service_options(add_module: Callable[[str, str], None]) -> None:
    add_module("broken", GOOD + "\n    class Options:\n        pass\n")
    assert problem() == "services.broken: the Options of its Service are not ServiceOptions"


def test_a_service_borrowed_from_another_file_is_named(add_module: Callable[[str, str], None]) -> None:
    add_module("broken", "from services.webhook import Service")
    assert problem() == "services.broken: its Service is named webhook instead of broken"


def test_a_wrong_glob_is_named(add_module: Callable[[str, str], None]) -> None:
    source = GOOD.replace("import ServiceBase", "import ServiceBase, listen_to")
    add_module("broken", source.replace("    def send", "    @listen_to('created')\n    def send"))
    assert problem().startswith("services.broken cannot be imported: ValueError: listen_to('created') is not")


@pytest.mark.parametrize("value", ["made_up", "made_up:Service"])
def test_another_package_offers_a_service(add_package: Callable[..., None], value: str) -> None:
    add_package(f"made_up = {value}", "made_up", GOOD)
    made_up = get_available_services()["made_up"]
    assert (made_up.name, made_up.title, made_up.__module__) == ("made_up", "Acme", "made_up")


def test_a_package_may_name_its_service_itself(add_package: Callable[..., None]) -> None:
    add_package(
        "made_up = sprintly_made_up", "sprintly_made_up", GOOD.replace("    def", "    name = 'made_up'\n\n    def")
    )
    assert get_available_services()["made_up"].name == "made_up"


@pytest.mark.parametrize(
    ("entry", "source", "expected"),
    [
        (
            "made_up = nowhere_at_all",
            GOOD,
            "nowhere_at_all (of the package sprintly-made_up) cannot be imported: "
            "ModuleNotFoundError: No module named 'nowhere_at_all'",
        ),
        (
            "made_up = made_up:Nothing",
            GOOD,
            "made_up:Nothing (of the package sprintly-made_up) cannot be imported: "
            "AttributeError: module 'made_up' has no attribute 'Nothing'",
        ),
        ("made_up = made_up", "x = 1", "made_up (of the package sprintly-made_up) has no class named Service"),
        (
            "other = made_up",
            GOOD,
            "made_up (of the package sprintly-made_up): its Service is named made_up instead of other",
        ),
    ],
)
def test_a_broken_entry_point_is_named(
    add_package: Callable[..., None], entry: str, source: str, expected: str
) -> None:
    add_package(entry, "made_up", source)
    assert problem() == expected


def test_a_name_that_is_taken_is_named(add_package: Callable[..., None]) -> None:
    add_package("webhook = made_up", "made_up", GOOD.replace("    def", "    name = 'webhook'\n\n    def"))
    assert problem() == (
        "the service webhook is offered twice: by services.webhook and by made_up (of the package sprintly-made_up)"
    )
