"""Secrets of every service, planted in its options, are nowhere but where they are sent, whatever fails and however.

A real replica on the real Kafka: each service fails in each way that there is, towards receivers of the test's own.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from installation import Installation, eventually
from mailserver import MailServer
from payloads import documented
from planted import Garden, echoes, secret_options, secrets_of_url
from ports import free_port
from receivers import Got, Receiver, Reply, certificate, tls

from consumer.deadletter import DeadLetter, read_dead_letter
from consumer.state import latest_states
from consumer.trial import MASK
from services import SecretUrl, ServiceBase, get_available_services

LANES = 5  # items that something happens to, so that breakers open
BUILT_IN = get_available_services()
BY_MAIL, BY_APPRISE = "email", "apprise"

# What no built-in service does: say its secret in exceptions, from `send` and `judge`, on the loop and on a thread.
LEAKY = '''
"""Tells its secret to whoever listens."""

import base64
import json
from urllib.parse import quote

from services import Field, Secret, SecretUrl, ServiceBase, ServiceOptions


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("nobody may print this")


class Service(ServiceBase):
    """
    Leaky

    1. `token` is the token.
    2. `url` is the address.
    3. `how` is how it fails.
    """

    class Options(ServiceOptions):
        token: Secret = Field(description="The token.", examples=["example-token"])
        url: SecretUrl = Field(description="The address.", examples=["https://example.com/hooks"])
        how: str = Field("raise", description="How it fails.", examples=["raise"])

    def send(self, payload):
        token = self.options.token.get_secret_value()
        match self.options.how:
            case "raise":
                coded = base64.b64encode(f"x{token}".encode()).decode()
                url = self.options.url.get_secret_value()
                raise ValueError(f"{token} {quote(token)} {json.dumps(token)} {coded} {url}")
            case "key":
                return {}[token]
            case "address":
                self.session.post(f"http://*.{token}.example/{quote(token)}")
            case "header":
                self.session.post(self.options.url, headers={"X-Token": f"{token}\\n{token}"})
            case "unspeakable":
                raise Unspeakable
            case "long":
                raise RuntimeError("x" * 1990 + token)
            case "judge":
                self.session.post(self.options.url, json={"token": token})

    def judge(self, status, body):
        raise ValueError(self.options.token.get_secret_value())
'''
HOWS = ("raise", "key", "address", "header", "unspeakable", "long", "judge")


class Planted(NamedTuple):
    """A subscription whose options hold secrets, and of each the parts in which it may be repeated."""

    entry: dict[str, Any]
    secrets: list[list[str]]


class Plot:
    """Plants secrets in options: the examples of a service, sent to `base` and with secrets of our own."""

    def __init__(self, garden: Garden) -> None:
        self.garden = garden
        self.planted: set[tuple[str, str]] = set()
        self.environ: dict[str, str] = {}

    def options(self, id_: str, service: type[ServiceBase], example: Mapping[str, Any], base: str) -> Planted:
        kinds, texts = secret_options(service), []
        options = dict(example)
        if "url" in service.Options.model_fields and "url" not in kinds:
            options["url"] = base
        for name, kind in kinds.items():
            if name not in example:
                continue
            self.planted.add((service.name, name))
            many = isinstance(example[name], list)
            made = (
                [self._secret(service, f"{id_}: {name}", kind, base) for _ in example[name]]
                if many
                else [self._secret(service, f"{id_}: {name}", kind, base)]
            )
            texts += [secrets_of_url(one) if "://" in one else [one] for one in made]
            options[name] = [self._reference(id_, name, n, one) for n, one in enumerate(made)]
            if not many:
                [options[name]] = options[name]
        return Planted(
            {"id": id_, "product": "*", "service": service.name, "events": ["*.*"], "options": options}, texts
        )

    def _secret(self, service: type[ServiceBase], where: str, kind: type, base: str) -> str:
        if issubclass(kind, SecretUrl):
            return self.garden.url(base, where)
        if service.name == BY_APPRISE:
            scheme, rest = base.split("://")
            marks = [self.garden.mark(where) for _ in range(3)]
            return f"json{'s' * (scheme == 'https')}://{marks[0]}:{marks[1]}@{rest}/{marks[2]}"
        if service.name == "webhook":
            return self.garden.key(where)
        return self.garden.secret(where)

    def _reference(self, id_: str, name: str, number: int, secret: str) -> str:
        """Have the environment hold the secret; the file could as well, but for what ${ means in it."""
        variable = f"PLANTED_{id_}_{name}_{number}".upper().replace("-", "_")
        self.environ[variable] = secret
        return f"${{{variable}}}"


class Echo:
    """A receiver's answers: a status, and a body that repeats one secret of the subscription in one of the forms."""

    def __init__(self, garden: Garden) -> None:
        self._garden = garden
        self._turn = itertools.count()
        self.known: list[Planted] = []

    def __call__(self, status: int, got: Got, before: str = "") -> Reply:
        secrets = self._secrets_of(got)
        turn = next(self._turn)
        secret = secrets[turn % len(secrets)]
        forms = list(echoes(secret))
        said = before + forms[turn // len(secrets) % len(forms)]
        headers = {"X-Echo": got.path, "Set-Cookie": f"session={got.path}", "Retry-After": "1" if status == 429 else ""}
        return Reply(status, said.encode(), {name: value for name, value in headers.items() if value})

    def judged(self, got: Got) -> Reply:
        """Answer as several third parties do that hide in JSON what went wrong."""
        said = self(400, got).body.decode()
        body = {"ok": False, "error_code": 400, "description": said, "errcode": "M_FORBIDDEN", "error": said}
        body |= {"result": "error", "msg": said, "message": said, "code": 10015}
        return Reply(400, json.dumps(body).encode())

    def _secrets_of(self, got: Got) -> list[str]:
        login = got.headers.get("authorization", "").removeprefix("Basic ")
        sent = f"{got.path} {got.headers} {got.body!r} {_decoded(login)}"
        marks = [mark for mark in self._garden.marks if mark in sent]
        for planted in self.known:
            seen = [texts for texts in planted.secrets if any(mark in text for mark in marks for text in texts)]
            if seen:  # what signs requests is not in them, but known to who gets them; other addresses are not
                known = [texts for texts in planted.secrets if texts in seen or "://" not in texts[0]]
                headers = [got.headers.get("authorization", ""), _decoded(login)]
                return [text for text in (*itertools.chain(*known), got.path, *headers) if text]
        return [sent]


def _decoded(login: str) -> str:
    try:
        return base64.b64decode(login).decode("utf-8", "replace")
    except ValueError:
        return ""


@contextmanager
def receivers(echo: Echo, folder: Path) -> Iterator[dict[str, str]]:
    """Give where things fail, by how they do."""
    modes = {
        "refused": (lambda got: echo(400, got)),
        "denied": (lambda got: echo(403, got)),
        "cut": (lambda got: echo(400, got, before="x " * 85)),
        "late": (lambda got: echo(400, got, before="x" * 780 + "\n")),
        "judged": echo.judged,
        "down": (lambda got: echo(503, got)),
        "gone": (lambda got: echo(410, got)),
        "moved": (lambda got: Reply(302, b"", {"Location": got.path})),
    }
    with ExitStack() as stack:
        found = {mode: stack.enter_context(Receiver(answers)).url for mode, answers in modes.items()}
        found["no TLS"] = found["denied"].replace("http:", "https:")
        found["distrusted"] = stack.enter_context(Receiver(tls=tls(certificate(folder)))).url
        found["unconnected"] = f"http://127.0.0.1:{free_port()}"
        found["impossible"] = "http://*.example"
        yield found


def plant(plot: Plot, places: Mapping[str, str]) -> list[Planted]:
    """Return a subscription for each service, each set of its examples and each way to fail."""
    made = []
    for name, service in BUILT_IN.items():
        if name == BY_MAIL:
            continue
        for mode, base in places.items():
            if name == BY_APPRISE and mode == "impossible":  # it is refused as an option
                continue
            for number, example in enumerate(_with_secrets(service)):
                id_ = f"{name}-{mode.replace(' ', '-')}-{number}"
                made.append(plot.options(id_, service, example, base))
    return made


def _with_secrets(service: type[ServiceBase]) -> Iterator[dict[str, Any]]:
    """Yield examples that between them have every secret of the service, in every shape of its examples."""
    seen: set[tuple[str, str]] = set()
    for example in reversed(service.Options.examples()):
        shapes = {(name, type(example[name]).__name__) for name in secret_options(service) if name in example}
        if shapes - seen or not secret_options(service):
            seen |= shapes
            yield example


def plant_mail(plot: Plot, ports: Mapping[str, tuple[str, int]]) -> list[Planted]:
    service = BUILT_IN[BY_MAIL]
    example = {
        "host": "127.0.0.1",
        "username": "sprintly",
        "password": "",
        "sender": "a@a.example",
        "recipients": "b@b.example",
    }
    made = [plot.options(f"email-{mode}-0", service, example, "") for mode in ports]
    for planted, (security, port) in zip(made, ports.values(), strict=True):
        planted.entry["options"] |= {"security": security, "port": port}
    return made


def plant_leaky(plot: Plot, base: str) -> list[dict[str, Any]]:
    made = []
    for name, how in itertools.product(("leaky", "leaky_thread"), HOWS):
        where = f"{name}-{how}"
        options = {"token": plot.garden.mark(where), "url": plot.garden.url(base, where), "how": how}
        made.append({"id": where, "product": "*", "service": name, "events": ["*.*"], "options": options})
    return made


def package(folder: Path) -> Path:
    """Write a package that adds the services `leaky` and `leaky_thread`, as if it were installed."""
    path = folder / "packages"
    info = path / "leaky-1.dist-info"
    info.mkdir(parents=True)
    (path / "leaky.py").write_text(LEAKY)
    (path / "leaky_thread.py").write_text(
        LEAKY.replace("    class Options", "    blocking = True\n\n    class Options")
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sprintly.services]\nleaky = leaky\nleaky_thread = leaky_thread\n")
    return path


def for_loopback(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1, signed by itself, with its key to a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = builder.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "loopback.pem"
    path.write_bytes(made.public_bytes(pem) + private)
    return path


def events() -> list[dict[str, Any]]:
    items = [documented("item"), *({**documented("item"), "attributes": {"number": n}} for n in range(1, LANES))]
    return [{"action": "created", **item} for item in items] + [{"action": "created", **documented("block")}]


def command_lines() -> bytes:
    """Return the command lines of all processes, as anybody on the machine may read them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:  # it has ended
            continue
    return b"\n".join(lines)


def topic(installation: Installation, suffix: str) -> bytes:
    """Return all that a topic's records hold: keys, values, headers."""
    records = installation.kafka.read(installation.topic + suffix)
    return b"\n".join(
        part or b""
        for record in records
        for part in (record.key, record.value, *itertools.chain(*((n.encode(), v) for n, v in record.headers)))
    )


def missing(installation: Installation, ids: set[str]) -> set[str]:
    """Return the subscriptions that have not failed yet so that it shows: by dead letters, or what they are owed."""
    states, _ = latest_states(installation.kafka.read(f"{installation.topic}.state"))
    shown = {letter.subscription for letter in _letters(installation)} | {one.subscription for one in states.values()}
    down = {one.subscription for one in states.values() if one.last_error}
    awaited = {
        id_ for id_ in ids if "-down-" in id_ and not id_.startswith("pagerduty")
    }  # it listens to one event only
    return (ids - {id_.partition("#")[0] for id_ in shown}) | (awaited - {id_.partition("#")[0] for id_ in down})


def _letters(installation: Installation) -> list[DeadLetter]:
    return [
        read_dead_letter(record)
        for record in installation.kafka.read(f"{installation.topic}.dlq")
        if record.value is not None
    ]


def test_no_secret_is_anywhere_but_where_it_is_sent(kafka_bootstrap: str, tmp_path: Path) -> None:
    garden = Garden()
    plot, echo = Plot(garden), Echo(garden)
    pem = for_loopback(tmp_path)
    packages = package(tmp_path)
    installation = Installation(kafka_bootstrap, tmp_path, retry_delays="1s,10m", egress_unguarded="apprise")
    with ExitStack() as stack:
        places = stack.enter_context(receivers(echo, tmp_path))
        planted = plant(plot, places)
        mail = dict.fromkeys(("refused", "down", "denied"), ("starttls", 0)) | {
            "unconnected": ("tls", free_port()),
            "no-TLS": ("tls", int(places["denied"].rpartition(":")[2])),
        }
        mails = plant_mail(plot, mail)
        for one in mails[:3]:
            [[secret]] = one.secrets
            one.entry["options"]["port"] = stack.enter_context(_mail_server(one.entry["id"], secret, pem)).port
        echo.known = planted
        leaky = plant_leaky(plot, places["denied"])
        entries = [one.entry for one in (*planted, *mails)] + leaky
        wanted = {(name, option) for name, service in BUILT_IN.items() for option in secret_options(service)}
        assert plot.planted == wanted, "some secret option was not planted"
        installation.subscriptions.write_text(yaml.safe_dump({"subscriptions": entries}))
        installation.environ |= plot.environ | {"PYTHONPATH": str(packages), "SSL_CERT_FILE": str(pem)}
        installation.create_topics()
        texts = run(installation, {entry["id"] for entry in entries})
        denied = [one.entry for one in (*planted, *mails) if "-denied-" in one.entry["id"]]
        texts |= by_hand(installation, [*denied, leaky[-1]])
    found = garden.found(texts)
    assert not found, "\n".join(found)
    for place in (".dlq", ".state", ".control"):
        assert MASK.encode() in texts[place], f"nothing was repeated that {place} would hold"


def _mail_server(id_: str, secret: str, pem: Path) -> MailServer:
    """Return a server that refuses mails, and repeats the password in what it says, or one that wants another."""
    code = "550" if "refused" in id_ else "451"
    said = " ".join(list(echoes(secret))[:3]).replace("\n", " ")
    login = ("sprintly", "another" if "denied" in id_ else secret)
    return MailServer({"RCPT": f"{code} no: {said}"}, tls=tls(pem), login=login)


def run(installation: Installation, ids: set[str]) -> dict[str, bytes]:
    """Have a replica fail with all that is planted; return what it left anywhere."""
    with installation.consuming() as replica:
        installation.produce(*events())
        eventually(lambda: not missing(installation, ids), "not all have failed", replica)
        installation.do("dlq", "replay", "--yes", "--limit", "40")
        before = replica.get("/metrics")
        texts = {
            "the metrics": before.encode(),
            "/livez": replica.get("/livez").encode(),
            "/readyz": json.dumps(replica.reasons()).encode(),
            "the process list": command_lines(),
        }
        assert replica.stop() == 0
    texts["stdout and stderr"] = replica.log.read_bytes()
    return texts | {suffix: topic(installation, suffix) for suffix in (".dlq", ".state", ".control", ".replay")}


def by_hand(installation: Installation, planted: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """Return what the commands print."""
    letters = [letter.id for letter in _letters(installation)]
    said = {}
    commands = [
        *(["dlq", "list", *more] for more in ([], ["--json"], ["--summary"], ["--grep", "receiver"])),
        *(["dlq", "show", letter] for letter in letters[::40]),
        *(["deliveries", "owed", *more] for more in ([], ["--json"])),
        *(["subscriptions", "list", *more] for more in ([], ["--json"])),
    ]
    options = installation.folder / "options.yaml"
    for entry in {entry["service"]: entry for entry in planted}.values():
        options.write_text(yaml.safe_dump(entry["options"]))
        for more in (["--dry-run"], ["--json"]):
            commands.append(["services", "test", entry["service"], "--options", str(options), *more])
            said |= printed(installation, commands.pop())
    for command in commands:
        said |= printed(installation, command)
    return said


def printed(installation: Installation, command: Sequence[str]) -> dict[str, bytes]:
    done = installation.run(*command)
    assert "Traceback" not in done.stderr
    return {" ".join(command): f"{done.stdout}\n{done.stderr}".encode()}
