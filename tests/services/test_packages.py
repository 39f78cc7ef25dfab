"""A package of somebody else's, installed beside the project in a fresh environment, offers services like any other.

The environment is really made, and both are really installed into it; what they need is taken from this one, so that
the network is not.
"""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
from pathlib import Path
from textwrap import dedent

import pytest
from checkouts import ROOT, Checkout, run

OUTSIDER = '''
"""Posts one line of text for each new item."""

from services import Field, Payload, Secret, SecretUrl, ServiceBase, ServiceOptions, listen_to


class Service(ServiceBase):
    """
    Outsider

    1. `url` is the address on the first page.
    2. `token` is the token below it.
    """

    name = "outsider"

    class Options(ServiceOptions):
        url: SecretUrl = Field(description="The address.", examples=["https://acme.example/hooks/4711"])
        token: Secret = Field(description="The token.", examples=["example-token"])

    @listen_to("Item.*", "Comment.created")
    def send(self, payload: Payload) -> None:
        headers = {"Authorization": f"Bearer {self.options.token.get_secret_value()}"}
        self.session.post(self.options.url, json={"text": payload["model"]}, headers=headers)
'''

# What the contract forbids.
LEAKY = '''
import socket
import requests
from services import Field, Payload, Secret, ServiceBase, ServiceOptions

class Service(ServiceBase):
    """
    Leaky

    1. `room` is the room.
    """

    limits = {"text": 100}

    class Options(ServiceOptions):
        room: str = Field(examples=["dev"])  # no description
        api_key: str = Field("", description="The key.", examples=["example-key"])  # not a Secret, not mentioned
        token: Secret | None = Field(None, description="`token`, that is `api_key`.")  # no example

    def send(self, payload: Payload) -> None:
        if payload["action"] == "updated":
            return  # silent
        if "added_later" in payload:
            raise KeyError("added_later")
        if payload["model"] == "Deploy":
            socket.getaddrinfo("acme.example", 443)  # the network
        payload["seen"] = True  # changed
        self.session.post("https://acme.example/", json={"text": payload["attributes"].get("title")})
'''
CAUGHT = {
    "test_it_has_a_title_instructions_and_a_word_on_each_option",
    "test_each_option_has_an_example",
    "test_what_is_named_like_a_credential_is_a_secret",
    "test_its_secrets_are_shown_nowhere",  # since nothing can be shown
    "test_it_tells_of_all_that_it_listens_to",
    "test_with_any_options_no_event_makes_it_fail",
    "test_keys_that_are_added_later_are_harmless",
    "test_no_payload_makes_it_fail",
    "test_it_depends_on_nothing_but_payload_and_options",
}


class Environment:
    """A virtual environment that has what this one has, but for the project itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        self.python = folder / "venv" / "bin" / "python"
        [packages] = (folder / "venv").glob("lib/python*/site-packages")
        # Not by a .pth file: those of this environment, which bring the checkout in, would not be read then, but its
        # metadata would be, and the project be found twice.
        here = Path(sysconfig.get_paths()["purelib"])
        for entry in here.iterdir():
            if "sprintly" not in entry.name:
                (packages / entry.name).symlink_to(entry)

    def install(self, project: Path) -> None:
        """Install a project by pip, from what lies here."""
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--no-cache-dir"]
        self._run(self.python, "-m", "pip", "--disable-pip-version-check", "install", *options, project)

    def do(self, *arguments: str) -> str:
        """Run `sprintly-services services`, as it was installed."""
        return self._run(self.folder / "venv" / "bin" / "sprintly-services", "services", *arguments)

    def test(self, *arguments: str, code: int = 0) -> str:
        """Run tests of the checkout, from elsewhere, on what is installed."""
        config = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider", "-q"]
        return self._run(self.python, "-P", "-m", "pytest", *config, *arguments, code=code)

    def _run(self, *command: str | Path, code: int = 0) -> str:
        environ = {"PATH": os.environ["PATH"], "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
        return run(*command, cwd=self.folder, env=environ, code=code)


def package(folder: Path, **services: str) -> Path:
    """Write a project with a module for each service, and an entry point for it."""
    folder.mkdir()
    entries = "\n".join(f'{name} = "sprintly_acme_{name}"' for name in services)
    modules = ", ".join(f'"sprintly_acme_{name}.py"' for name in services)
    (folder / "pyproject.toml").write_text(
        dedent(
            """
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"

            [project]
            name = "sprintly-acme"
            version = "1.0"

            [project.entry-points."sprintly.services"]
            {entries}

            [tool.hatch.build.targets.wheel]
            only-include = [{modules}]
            """
        ).format(entries=entries, modules=modules)
    )
    for name, source in services.items():
        named = source.replace('    """\n\n    limits', f'    """\n\n    name = "{name}"\n    limits')
        (folder / f"sprintly_acme_{name}.py").write_text(named)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the project and, beside it, a package with two services: a good one and a bad one."""
    folder = tmp_path_factory.mktemp("environment")
    (folder / "checkout").mkdir()
    made = Environment(folder)
    made.install(Checkout(folder / "checkout").folder)
    made.install(package(folder / "package", outsider=OUTSIDER, leaky=LEAKY))
    return made


def test_its_services_are_listed_and_shown(environment: Environment) -> None:
    rows = {row["name"]: row for row in json.loads(environment.do("list", "--json"))}
    assert {"outsider", "leaky", "slack", "webhook"} <= set(rows)
    assert (rows["outsider"]["title"], rows["outsider"]["events"]) == ("Outsider", ["Item.*", "Comment.created"])
    assert [(option["name"], option["secret"]) for option in rows["outsider"]["options"]] == [
        ("url", True),
        ("token", True),
    ]
    assert "url is the address on the first page" in environment.do("show", "outsider")


def test_they_are_tried(environment: Environment) -> None:
    said = environment.do("test", "outsider", "--dry-run")
    assert "POST https://acme.example/**********\nAuthorization: Bearer **********\n" in said
    assert '"text": "Comment"' in said


def test_their_pages_are_written(environment: Environment) -> None:
    environment.do("docs", "pages")
    assert "| `token` | text | yes | yes | The token. |" in (environment.folder / "pages/outsider.md").read_text(
        "utf-8"
    )


def test_a_good_one_keeps_the_contract(environment: Environment) -> None:
    said = environment.test(str(ROOT / "tests/services/test_contract.py"), "-k", "outsider")
    assert re.search(r"\d\d passed", said)


def test_a_bad_one_is_caught_by_each_part_of_the_contract(environment: Environment) -> None:
    # Without the part by hypothesis, which takes its time to make what fails as small as can be.
    chosen = ["-k", "leaky and not whatever", "--tb=line"]
    said = environment.test(str(ROOT / "tests/services/test_contract.py"), *chosen, code=1)
    assert set(re.findall(r"^FAILED .*::(\w+)\[", said, re.MULTILINE)) == CAUGHT
    for reason in (
        "room has no description",
        "send uses the network by itself",
        "send changes the payload",
        "and 100 is the most",
    ):
        assert reason in said, said
