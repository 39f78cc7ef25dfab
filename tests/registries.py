"""Schema registries to test with: the real Apicurio, in a container that ends with the tests, and a small one here.

with LocalRegistry() as registry:  # speaks Confluent's API, with GUIDs
    number = registry.add("events-value", {"type": "record", …})
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, NamedTuple, Self
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from kafka import SPARING, START_TIMEOUT
from ports import LOOPBACK, free_port
from receivers import Answer, Got, Receiver, Reply

from consumer.codec import WriterSchema
from consumer.compatibility import problems

VERSION = "3.0.9"
IMAGE = f"apicurio/apicurio-registry:{VERSION}"
PORT = "8080"
PATH = "/apis/ccompat/v7"
ADDRESS_VARIABLE = "SPRINTLY_TEST_REGISTRY"


class RegistryMissing(Exception):
    """There is no real registry to test on; the text says why, in a few words."""


class Apicurio(NamedTuple):
    """A registry that answers: where it is, and what to call it in the tests' summary."""

    url: str
    title: str


@contextmanager
def real_registry(environ: Mapping[str, str]) -> Iterator[Apicurio]:
    """Give the registry that SPRINTLY_TEST_REGISTRY names, else one in a container; raise RegistryMissing without."""
    if url := environ.get(ADDRESS_VARIABLE):
        if not _answers(url, START_TIMEOUT / 3):
            raise RegistryMissing(f"{url} ({ADDRESS_VARIABLE}) does not answer")
        yield Apicurio(url, f"{url} ({ADDRESS_VARIABLE})")
    else:
        with _container() as url:
            yield Apicurio(url, f"Apicurio {VERSION} at {url} (testcontainers)")


def _answers(url: str, timeout: float) -> bool:
    """Whether a registry lists its subjects within so many seconds."""
    deadline = monotonic() + timeout
    while (left := deadline - monotonic()) > 0:
        try:
            with urlopen(f"{url}/subjects", timeout=min(left, 5.0)) as answer:
                return isinstance(json.load(answer), list)
        except (URLError, OSError, ValueError):  # refused, reset, or not ready yet
            sleep(0.2)
    return False


@contextmanager
def _container() -> Iterator[str]:
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # as for Kafka's, and imported after it
    from docker.errors import DockerException  # type: ignore[import-untyped]
    from testcontainers.core.container import DockerContainer

    try:
        container = DockerContainer(IMAGE)
        host = container.get_docker_client().host()
    except DockerException as error:
        raise RegistryMissing(f"no Docker, no {ADDRESS_VARIABLE}") from error
    host = LOOPBACK if host == "localhost" else host
    container.with_env("JAVA_TOOL_OPTIONS", SPARING)
    port = free_port()
    ports: dict[str, Any] = container.ports
    ports[PORT] = (LOOPBACK, port) if host == LOOPBACK else port
    try:
        container.start()
    except DockerException as error:
        raise RegistryMissing(f"Docker cannot run {IMAGE}: {getattr(error, 'explanation', error)}") from error
    try:
        url = f"http://{host}:{port}{PATH}"
        if not _answers(url, START_TIMEOUT):
            raise RegistryMissing(f"{IMAGE} did not answer within {START_TIMEOUT:.0f} s")
        yield url
    finally:
        container.stop()


class LocalRegistry:
    """A registry in memory on 127.0.0.1: Confluent's API as far as the consumers use it, GUIDs included.

    `credentials` (user:password) are asked for if given; while `outage` is set, it is the answer to everything.
    """

    def __init__(self, *, level: str = "BACKWARD", credentials: str = "") -> None:
        self.level = level
        self.outage: Answer | None = None
        self._expected = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else None
        self._contents: list[dict[str, Any]] = []
        self._subjects: dict[str, list[int]] = {}
        self._aliases: dict[str, str] = {}
        self._receiver = Receiver(self._answer)

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._receiver.__exit__(*error)

    @property
    def url(self) -> str:
        """The registry's address."""
        return self._receiver.url

    @property
    def requests(self) -> list[Got]:
        """What it was asked, in order."""
        return self._receiver.requests

    def add(self, subject: str, schema: Any, references: Sequence[tuple[str, str, int]] = (), **more: str) -> int:
        """Register a schema (text or what JSON makes of it), unchecked; returns its id.

        `references` are name, subject and version; `more` are other parts of the registry's answer, as schemaType.
        """
        text = schema if isinstance(schema, str) else json.dumps(schema)
        named = [{"name": name, "subject": of, "version": version} for name, of, version in references]
        return self._put(subject, {"schema": text, "references": named, **more})

    def guid(self, number: int) -> uuid.UUID:
        """The GUID of the schema of an id."""
        return uuid.uuid5(uuid.NAMESPACE_OID, self._contents[number - 1]["schema"])

    def alias(self, guid: uuid.UUID, of: uuid.UUID) -> None:
        """Know a schema by a second GUID."""
        self._aliases[str(guid)] = str(of)

    def _put(self, subject: str, content: dict[str, Any]) -> int:
        if content not in self._contents:
            self._contents.append(content)
        number = self._contents.index(content) + 1
        versions = self._subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def _answer(self, request: Got) -> Answer:
        if self.outage is not None:
            return self.outage
        if self._expected and request.headers.get("authorization") != self._expected:
            return _json(401, {"error_code": 401, "message": "Unauthorized"})
        parts = [unquote(part) for part in urlsplit(request.path).path.strip("/").split("/")]
        body = json.loads(request.body) if request.body else {}
        match request.method, parts:
            case "GET", ["schemas", "ids", number]:
                return self._content(lambda n: str(n) == number)
            case "GET", ["schemas", "guids", guid]:
                return self._content(lambda n: str(self.guid(n)) == self._aliases.get(guid, guid))
            case "GET", ["subjects", subject, "versions", version]:
                return self._version(subject, version)
            case "GET", ["config"]:
                return _json(200, {"compatibilityLevel": self.level})
            case "GET", ["config", _]:
                return _json(404, {"error_code": 40408, "message": "Subject has no level of its own"})
            case "POST", ["subjects", subject]:
                return self._lookup(subject, body)
            case "POST", ["subjects", subject, "versions"]:
                return self._register(subject, body)
            case "POST", ["compatibility", "subjects", subject, "versions"]:
                found = self._problems(subject, body)
                return _json(200, {"is_compatible": not found, "messages": found})
        return Reply(404, b"HTTP 404 Not Found")

    def _content(self, wanted: Callable[[int], bool]) -> Reply:
        for number, content in enumerate(self._contents, 1):
            if wanted(number):
                return _json(200, {**content, "guid": str(self.guid(number))})
        return _json(404, {"error_code": 40403, "message": "Schema not found"})

    def _version(self, subject: str, version: str) -> Reply:
        versions = self._subjects.get(subject)
        if not versions:
            return _json(404, {"error_code": 40401, "message": f"Subject '{subject}' not found."})
        place = len(versions) if version == "latest" else int(version)
        if not 0 < place <= len(versions):
            return _json(404, {"error_code": 40402, "message": f"Version {version} not found."})
        return _json(200, self._registered(subject, versions[place - 1]))

    def _lookup(self, subject: str, body: dict[str, Any]) -> Reply:
        if subject not in self._subjects:
            return _json(404, {"error_code": 40401, "message": f"Subject '{subject}' not found."})
        for number in self._subjects[subject]:
            if json.loads(self._contents[number - 1]["schema"]) == json.loads(body["schema"]):
                return _json(200, self._registered(subject, number))
        return _json(404, {"error_code": 40403, "message": "Schema not found"})

    def _register(self, subject: str, body: dict[str, Any]) -> Reply:
        if found := self._problems(subject, body):
            return _json(409, {"error_code": 409, "message": f"Schema is incompatible: {found}"})
        return _json(200, {"id": self._put(subject, {"schema": body["schema"], "references": []})})

    def _registered(self, subject: str, number: int) -> dict[str, Any]:
        place = {"subject": subject, "id": number, "version": self._subjects[subject].index(number) + 1}
        return {**self._contents[number - 1], **place}

    def _problems(self, subject: str, body: dict[str, Any]) -> list[str]:
        if self.level == "NONE" or not self._subjects.get(subject):
            return []
        newest = self._contents[self._subjects[subject][-1] - 1]["schema"]
        return problems(WriterSchema(json.loads(body["schema"])), WriterSchema(json.loads(newest)))


def _json(status: int, content: Any) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/vnd.schemaregistry.v1+json"})
