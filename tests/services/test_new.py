"""`services new` in a copy of the checkout: what it writes passes all that looks at services, as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkouts import Checkout

from consumer.scaffold import problem, title
from services import get_available_services

WRITTEN = [
    "services/acme.py",
    "tests/services/test_acme.py",
    "docs/services.md",
    "docs/services/README.md",
    "docs/services/acme.md",
]
ABOUT_SERVICES = (
    *(f"tests/services/test_{name}.py" for name in ("acme", "contract", "catalogue", "pages")),
    *("tests/test_docs.py", "tests/test_architecture.py"),
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which `services new acme` has been run."""
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    said = made.do("new", "acme")
    assert said.splitlines()[: len(WRITTEN)] == WRITTEN
    return made


def test_the_service_is_there(checkout: Checkout) -> None:
    assert "acme     Acme" in checkout.do("list")
    assert "POST https://example.com/**********" in checkout.do("test", "acme", "--dry-run")


def test_it_is_laid_out_and_typed_as_everything_here(checkout: Checkout) -> None:
    checkout.run("ruff", "check", "--no-cache", ".")
    checkout.run("ruff", "format", "--no-cache", "--check", ".")
    checkout.run("mypy", "--config-file", "pyproject.toml", "--cache-dir", str(checkout.folder / "types"), WRITTEN[0])


def test_its_test_the_contract_and_the_documentation_pass(checkout: Checkout) -> None:
    said = checkout.test(*ABOUT_SERVICES, "-k", "acme or not contract")  # the others' part of it runs elsewhere
    assert "passed" in said
    assert checkout.do("docs", "--check") == ""


def test_its_line_is_the_last_of_the_list(checkout: Checkout) -> None:
    last = (checkout.folder / "docs/services.md").read_text("utf-8").splitlines()[-1]
    assert last == "| people to read in Acme what is new | [`acme`](services/acme.md) |"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("webhook", "there is a service webhook already"),
        ("acme", "there is a service acme already"),
        ("contract", "tests/services/test_contract.py is there already, so contract is taken"),
        ("Acme", "Acme is no name for a service"),
        ("acme-chat", "acme-chat is no name for a service"),
        ("_acme", "_acme is no name for a service"),
        ("../acme", "../acme is no name for a service"),
        ("class", "class is no name for a service"),
        ("a" * 41, "is longer than 40 characters"),
    ],
)
def test_a_name_that_will_not_do_is_refused(checkout: Checkout, name: str, sentence: str) -> None:
    before = sorted(path.name for path in checkout.folder.rglob("*"))
    assert sentence in checkout.do("new", name, code=2)
    assert sorted(path.name for path in checkout.folder.rglob("*")) == before


def test_the_names_of_the_services_here_will_do() -> None:
    assert [name for name in get_available_services() if problem(name)] == []


@pytest.mark.parametrize(("name", "expected"), [("acme", "Acme"), ("acme_chat", "Acme Chat"), ("a__b_", "A B")])
def test_a_name_makes_a_title_to_begin_with(name: str, expected: str) -> None:
    assert title(name) == expected


def test_where_there_is_no_checkout_it_says_so(tmp_path: Path) -> None:
    """As in an installation: the packages without the project around them."""
    installed = Checkout(tmp_path)
    (installed.folder / "tests").rename(installed.folder / "elsewhere")
    said = installed.do("new", "acme", code=2)
    assert said.startswith("sprintly-services: services new needs a checkout of the project")
    assert len(said.splitlines()) == 1
