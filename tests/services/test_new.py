"""`services new` in a copy of the checkout: what it writes passes all that looks at services, as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkouts import Checkout

from consumer.scaffold import problem, title
from services import get_available_services

WRITTEN = [
    "services/begun_by_a_test.py",
    "tests/services/test_begun_by_a_test.py",
    "docs/services.md",
    "docs/services/README.md",
    "docs/services/begun_by_a_test.md",
]
ABOUT_SERVICES = (
    *(f"tests/services/test_{name}.py" for name in ("begun_by_a_test", "contract", "catalogue", "pages")),
    *("tests/test_docs.py", "tests/test_architecture.py"),
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which `services new begun_by_a_test` has been run."""
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    said = made.do("new", "begun_by_a_test")
    assert said.splitlines()[: len(WRITTEN)] == WRITTEN
    return made


def test_the_service_is_there(checkout: Checkout) -> None:
    assert "begun_by_a_test  Begun By A Test" in checkout.do("list")
    assert "POST https://example.com/**********" in checkout.do("test", "begun_by_a_test", "--dry-run")


def test_it_is_laid_out_and_typed_as_everything_here(checkout: Checkout) -> None:
    checkout.run("ruff", "check", "--no-cache", ".")
    checkout.run("ruff", "format", "--no-cache", "--check", ".")
    checkout.run("mypy", "--config-file", "pyproject.toml", "--cache-dir", str(checkout.folder / "types"), WRITTEN[0])


def test_its_test_the_contract_and_the_documentation_pass(checkout: Checkout) -> None:
    mine = "begun_by_a_test or not contract"  # the other services' part of it is for test_contract.py itself
    said = checkout.test(*ABOUT_SERVICES, "-k", mine)
    assert "passed" in said
    assert checkout.do("docs", "--check") == ""


def test_its_line_is_the_last_of_the_list(checkout: Checkout) -> None:
    before, last = (checkout.folder / "docs/services.md").read_text("utf-8").splitlines()[-2:]
    assert before.startswith("| "), "the file does not end with the table of services, to which `services new` adds"
    assert last.startswith("| people to read in Begun By A Test what is new | [`begun_by_a_test`](services/begun_by")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("webhook", "there is a service webhook already"),
        ("contract", "tests/services/test_contract.py is there already, so contract is taken"),
        ("../acme", "../acme is no name for a service"),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(checkout: Checkout, name: str, sentence: str) -> None:
    before = sorted(path.name for path in checkout.folder.rglob("*"))
    assert sentence in checkout.do("new", name, code=2)
    assert sorted(path.name for path in checkout.folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "Acme", "acme-chat", "_acme", "4cme", "acmé", "acme.py", "class", "a" * 41])
def test_a_name_that_will_not_do(name: str) -> None:
    assert problem(name)


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
