"""The bill of materials of an environment: what is installed there goes in, a CycloneDX document comes out.

    python deploy/supply/sbom.py ENVIRONMENT --installed REPORT --output FILE

The environment's distributions, licences and who needs whom are cyclonedx-bom's work. Added are the hash of the very
file that each was installed from (pip's `--report` has it) and the libraries in C that lie within wheels, of which no
metadata tells: librdkafka, libcurl and the several OpenSSLs are what most advisories would be about. The document is
the same for the same environment; with SOURCE_DATE_EPOCH it has a time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import click
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

Component: TypeAlias = dict[str, Any]

PYPROJECT = Path("pyproject.toml")
VERSION = SchemaVersion.V1_6
# Run by the environment's own Python: its distributions' shared objects, and what the modules say they are made of.
_ASKED = """
import importlib.metadata, json
def said(module, ask):
    try:
        return ask(__import__(module, fromlist=["_"]))
    except ImportError:
        return ""
print(json.dumps({
    "objects": {d.name: [str(d.locate_file(f)) for f in d.files or () if ".so" in f.suffixes]
                for d in importlib.metadata.distributions()},
    "said": {
        "confluent-kafka": "librdkafka/" + said("confluent_kafka", lambda m: m.libversion()[0]),
        "pycurl": said("pycurl", lambda m: m.version),
        "pyyaml": "libyaml/" + said("yaml._yaml", lambda m: m.get_version_string()),
    },
}))
"""
_WORD = re.compile(r"([\w-]+)/(\d[\w.]*)")  # libcurl/8.23.0
_OUTSIDE = frozenset({"PycURL", "zlib"})  # the wheel itself, and what pycurl's takes from the system
# How OpenSSL names itself in each program that it is part of: "OpenSSL 3.5.8 25 Aug 2026".
_OPENSSL = re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]?) +\d+ [A-Z][a-z]{2} \d{4}")


def bill(python: Path, installed: Mapping[str, str], pyproject: Path = PYPROJECT) -> dict[str, Any]:
    """Return the CycloneDX document of the environment that `python` is the interpreter of.

    `installed` is the SHA-256 of each distribution's file by canonical name, as `read_report` returns it. Raises
    click.ClickException where a distribution is not among them, or the document would be no good CycloneDX.
    """
    made = _output(
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--short-PURLs"),
        *("--spec-version", VERSION.to_version(), "--pyproject", str(pyproject), "--output-file", "-", str(python)),
    )
    document: dict[str, Any] = json.loads(made)
    libraries = _libraries(python)
    for component in document["components"]:
        name = canonicalize_name(component["name"])
        if name not in installed:
            raise click.ClickException(f"{name} is installed, and pip's report does not say from which file")
        component["hashes"] = [{"alg": "SHA-256", "content": installed[name]}]
        if within := [_library(component, *library) for library in sorted(libraries.get(name, ()))]:
            component["components"] = within
    if problem := JsonStrictValidator(VERSION).validate_str(json.dumps(document)):
        raise click.ClickException(f"the bill of materials is no valid CycloneDX: {problem.data.message}")
    return document


def read_report(text: str) -> dict[str, str]:
    """Return the SHA-256 of the file that each distribution was installed from, out of pip's `--report`."""
    return {
        canonicalize_name(entry["metadata"]["name"]): entry["download_info"]["archive_info"]["hashes"]["sha256"]
        for entry in json.loads(text)["install"]
    }


def _libraries(python: Path) -> dict[str, set[tuple[str, str]]]:
    """The libraries in C within each distribution, by canonical name."""
    told = json.loads(_output(str(python), "-c", _ASKED))
    found: dict[str, set[tuple[str, str]]] = {
        canonicalize_name(name): set(_openssl(objects)) for name, objects in told["objects"].items()
    }
    for name, words in told["said"].items():
        found.setdefault(name, set()).update(library for library in _WORD.findall(words) if library[0] not in _OUTSIDE)
    return found


def _openssl(objects: list[str]) -> Iterator[tuple[str, str]]:
    for path in objects:
        yield from (("OpenSSL", found.decode()) for found in _OPENSSL.findall(Path(path).read_bytes()))


def _library(wheel: Component, name: str, version: str) -> Component:
    return {
        "bom-ref": f"{wheel['bom-ref']}/{name}=={version}",
        "name": name,
        "properties": [{"name": "sprintly:within", "value": wheel["name"]}],
        "purl": f"pkg:generic/{name.lower()}@{version}",
        "type": "library",
        "version": version,
    }


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{command[0]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


@click.command()
@click.argument("environment", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option(
    "--installed",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    required=True,
    help="What pip's --report wrote when it installed the environment.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
def main(environment: Path, installed: Path, output: Path) -> None:
    """Write the bill of materials of ENVIRONMENT, a virtual environment that pip made."""
    document = bill(environment / "bin/python", read_report(installed.read_text("utf-8")))
    output.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
