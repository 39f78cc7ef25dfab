"""The bill of materials of environments made here, with distributions that exist by their metadata only."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import click
import pytest
from sbom import bill, read_report

ROOT = Path(__file__).resolve().parent.parent
HASH = "ab" * 32
BANNER = b"\0OpenSSL 3.5.8 25 Aug 2026\0"


class Environment:
    """A virtual environment without anything, to which distributions are added by hand."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin/python"
        (self._packages,) = folder.glob("lib/python*/site-packages")

    def add(self, name: str, version: str, **files: bytes) -> None:
        """Install a distribution with shared objects of these names."""
        info = self._packages / f"{name}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n"
        (info / "METADATA").write_text(metadata)
        for file, content in files.items():
            (self._packages / f"{file}.so").write_bytes(content)
        (info / "RECORD").write_text("".join(f"{file}.so,,\n" for file in files))

    def bill(self, **installed: str) -> dict[str, Any]:
        return bill(self.python, installed, ROOT / "pyproject.toml")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    environment = Environment(tmp_path / "environment")
    environment.add("Acme", "1.0", acme=BANNER + BANNER)
    environment.add("plain", "2.0")
    return environment


def test_it_lists_what_is_installed_with_licence_hash_and_address(environment: Environment) -> None:
    document = environment.bill(acme=HASH, plain=HASH)
    first, second = document["components"]
    assert (first["name"], first["version"], first["purl"]) == ("Acme", "1.0", "pkg:pypi/acme@1.0")
    assert first["hashes"] == second["hashes"] == [{"alg": "SHA-256", "content": HASH}]
    assert first["licenses"][0]["license"]["id"] == "MIT"
    assert document["metadata"]["component"]["name"] == "sprintly-services"


def test_it_names_the_openssl_within_a_wheel(environment: Environment) -> None:
    first, second = environment.bill(acme=HASH, plain=HASH)["components"]
    (library,) = first["components"]
    assert (library["purl"], library["bom-ref"]) == ("pkg:generic/openssl@3.5.8", "Acme==1.0/OpenSSL==3.5.8")
    assert "components" not in second


def test_it_says_the_same_of_the_same_and_nothing_of_this_machine(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    documents = [environment.bill(acme=HASH, plain=HASH) for _ in range(2)]
    assert documents[0] == documents[1]
    assert not {"serialNumber", "timestamp"} & {*documents[0], *documents[0]["metadata"]}
    assert str(tmp_path) not in json.dumps(documents[0])


def test_what_came_from_a_file_that_nobody_knows_is_refused(environment: Environment) -> None:
    with pytest.raises(click.ClickException, match="plain is installed, and pip's report does not say from which file"):
        environment.bill(acme=HASH)


def test_a_hash_that_is_none_makes_no_valid_document(environment: Environment) -> None:
    with pytest.raises(click.ClickException, match="no valid CycloneDX"):
        environment.bill(acme="made up", plain=HASH)


def test_pip_s_report_says_the_hash_of_each_file() -> None:
    entry = {
        "metadata": {"name": "Typing_Extensions"},
        "download_info": {"archive_info": {"hashes": {"sha256": HASH}}},
    }
    assert read_report(json.dumps({"install": [entry]})) == {"typing-extensions": HASH}


def test_the_command_writes_a_file(environment: Environment, tmp_path: Path) -> None:
    entries = [
        {"metadata": {"name": name}, "download_info": {"archive_info": {"hashes": {"sha256": HASH}}}}
        for name in ("acme", "plain")
    ]
    report, output = tmp_path / "installed.json", tmp_path / "sbom.cdx.json"
    report.write_text(json.dumps({"install": entries}))
    place = environment.python.parent.parent
    arguments = [str(place), "--installed", str(report), "--output", str(output)]
    subprocess.run([sys.executable, "deploy/supply/sbom.py", *arguments], cwd=ROOT, check=True, timeout=60)
    assert [c["name"] for c in json.loads(output.read_text())["components"]] == ["Acme", "plain"]
