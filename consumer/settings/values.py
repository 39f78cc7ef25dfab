"""What a setting's text means: durations, sizes, counts, addresses, networks; each reader has the writer beside it.

A reader takes what the environment (text) or a TOML file (also numbers and lists) gives, and raises ValueError with
the reason when it means nothing. The sentence that names the setting is made around that reason, in this package.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from consumer.egress import Network, parse_cidrs
from consumer.topics import CONTROL

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_DURATION_HINT = "give seconds, or a number with ms, s, m, h or d, as in 15s"
_SIZE_HINT = "give bytes, or a number with kB, MB, GB, KiB, MiB or GiB, as in 64MiB"
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_SERVER = re.compile(r"(?:[A-Z_]+://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+)(?::(\d{1,5}))?", re.ASCII)
_CREDENTIALS = re.compile(r"[^\s,/'\"]+@")
_LISTENER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_LONGEST_TOPIC = 249  # characters, by Kafka
_TOPIC_LIMIT = _LONGEST_TOPIC - len(CONTROL)  # the longest derived name must fit
_KAFKA = "kafka:"
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=", re.ASCII)  # 32 bytes
_HIGHEST_PORT = 65535
_LONGEST = 365 * 86400.0  # in milliseconds this is still far from what timers and libraries can hold


def read_text(value: object) -> str:
    """Return the text without the spaces around it; one that is empty is refused."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    return value.strip()


def read_choice(value: object) -> object:
    """Return a word in lower case, so that `JSON` is as good as `json`."""
    return value.strip().lower() if isinstance(value, str) else value


def read_path(value: object) -> Path:
    """Return the path in a text that is not empty; a path is taken as it is."""
    return value if isinstance(value, Path) else Path(read_text(value))


def read_bundle(value: object) -> Path | None:
    """Return the path of a PEM file with certificates, which is looked into, and None for an empty text."""
    if value is None or value == "":
        return None
    path = read_path(value)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError("it holds no certificate in PEM") from None
    except OSError as error:
        raise ValueError(f"no certificates can be read: {error.strerror}") from None
    return path


def write_path(path: Path | None) -> str:
    """Return the path as text, and nothing where there is none."""
    return str(path or "")


def read_duration(value: object) -> float:
    """Return the seconds in "15s", "500ms", "5m", "2h", "1d" or a plain number: more than 0, a year at most."""
    seconds = _amount(value, _SECONDS, f"not a duration: {_DURATION_HINT}")
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"must be more than 0 and at most {write_duration(_LONGEST)}")
    return seconds


def read_durations(value: object) -> tuple[float, ...]:
    """Return the durations of a comma-separated text or of a list, each as `read_duration` takes it; at least one."""
    parts = list(value) if isinstance(value, list | tuple) else str(value).split(",")
    if not any(str(part).strip() for part in parts):
        raise ValueError("must be at least one duration, as in 30s,5m,2h")
    return tuple(read_duration(part) for part in parts)


def write_durations(durations: Iterable[float]) -> str:
    """Return the text that `read_durations` reads as these durations."""
    return ",".join(write_duration(duration) for duration in durations)


def write_duration(seconds: float) -> str:
    """Return the shortest text that `read_duration` reads as these seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.12g}ms"


def read_size(value: object) -> int:
    """Return the bytes in "64MiB", "8MB", "512kB" (in any case) or a plain number of bytes, at least 1."""
    size = int(_amount(value, _BYTES, f"not a size: {_SIZE_HINT}"))
    if size < 1:
        raise ValueError("must be at least 1 byte")
    return size


def write_size(size: int) -> str:
    """Return the shortest text that `read_size` reads as these bytes."""
    for unit in ("GiB", "MiB", "KiB", "GB", "MB", "kB"):
        if size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return str(size)


def _amount(value: object, units: Mapping[str, float], otherwise: str) -> float:
    match = _AMOUNT.fullmatch(str(value).strip())
    unit = units.get(match[2].lower()) if match else None
    if not match or unit is None:
        raise ValueError(otherwise)
    return float(match[1]) * unit


def read_count(value: object) -> int:
    """Return a whole number of at least 1."""
    text = str(value).strip()
    if not re.fullmatch(r"0*[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError("not a whole number from 1 to 999999999")
    return int(text)


def read_limit(value: object) -> int | None:
    """Return a whole number of at least 1, or None for `off`."""
    if isinstance(value, str) and value.strip().lower() == "off":
        return None
    try:
        return read_count(value)
    except ValueError as error:
        raise ValueError(f"{error}, or off") from None


def write_limit(limit: int | None) -> str:
    """Return the text that `read_limit` reads as this limit."""
    return "off" if limit is None else str(limit)


def without_credentials(text: str) -> str:
    """Return a text without what stands before an @ in it: in addresses that is a name and a password."""
    return _CREDENTIALS.sub("***@", text)


def read_servers(value: object) -> str:
    """Return a comma-separated list of `host:port` without spaces."""
    parts = [part.strip() for part in read_text(value).split(",")]
    for part in parts:
        match = _SERVER.fullmatch(part)
        if not match or not 0 < int(match[1] or 1) <= _HIGHEST_PORT:
            raise ValueError(f"{without_credentials(repr(part))} is not host:port")
    return ",".join(parts)


def read_topic(value: object) -> str:
    """Return the name of a topic that Kafka takes, and whose derived topics it takes as well."""
    return _topic(read_text(value), _TOPIC_LIMIT, "the names that derive from it leave")


def _topic(topic: str, limit: int, who: str) -> str:
    if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise ValueError("not a topic's name: letters, digits, '.', '_' and '-' only")
    if len(topic) > limit:
        raise ValueError(f"too long: {who} {limit} characters")
    return topic


class Address(NamedTuple):
    """Where a server listens; port 0 lets the system pick one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_listener(value: object) -> Address | None:
    """Return the address in `host:port` (an IPv6 host in brackets), or None for `off`; an address is taken as it is."""
    if isinstance(value, Address):
        return value
    text = read_text(value)
    if text.lower() == "off":
        return None
    match = _LISTENER.fullmatch(text)
    if not match or int(match[3]) > _HIGHEST_PORT:
        raise ValueError("not host:port: give one as in 0.0.0.0:9464 (port 0 picks one), or off")
    return Address(match[1] or match[2], int(match[3]))


def write_listener(address: Address | None) -> str:
    """Return the text that `read_listener` reads as this address."""
    return str(address or "off")


@dataclass(frozen=True)
class KafkaTopic:
    """A topic, where something else might be meant as well."""

    name: str

    def __str__(self) -> str:
        return f"{_KAFKA}{self.name}"


def read_subscriptions(value: object) -> Path | KafkaTopic:
    """Return where subscriptions are: a file by its path, or the topic in `kafka:TOPIC`; both are taken as they are."""
    if isinstance(value, KafkaTopic | Path):
        return value
    text = read_text(value)
    if not text.startswith(_KAFKA):
        return Path(text)
    return KafkaTopic(_topic(text.removeprefix(_KAFKA), _LONGEST_TOPIC, "Kafka takes"))


@dataclass(frozen=True)
class Keys:
    """Keys that options are sealed by, the first one, and opened by, all of them; they do not print themselves."""

    keys: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return "***" * bool(self.keys)


def read_keys(value: object) -> Keys:
    """Return the Fernet keys of a comma-separated text or of a list: 32 bytes each, in urlsafe base64."""
    if isinstance(value, Keys):
        return value
    parts = list(value) if isinstance(value, list | tuple) else str(value).split(",")
    keys = tuple(part for part in (str(part).strip() for part in parts) if part)
    for number, key in enumerate(keys, 1):
        if not _KEY.fullmatch(key):
            made = "`openssl rand -base64 32 | tr /+ _-`"
            raise ValueError(f"key number {number} is not 32 bytes in urlsafe base64, as {made} makes them")
    return Keys(keys)


def write_keys(keys: Keys) -> str:
    """Return asterisks where there are keys, and nothing where there are none."""
    return str(keys)


def read_networks(value: object) -> tuple[Network, ...]:
    """Return the networks of a comma-separated text or of a list of CIDRs; a single address is a network of one."""
    if isinstance(value, list | tuple):
        return parse_cidrs(",".join(str(part) for part in value))
    if isinstance(value, str):
        return parse_cidrs(value)
    raise ValueError("not a list of CIDRs: give them as in 10.0.0.0/8,192.168.1.7")


def write_networks(networks: Iterable[Network]) -> str:
    """Return the text that `read_networks` reads as these networks."""
    return ",".join(str(network) for network in networks)


@dataclass(frozen=True)
class ServerUrl:
    """A server's address; as text it comes without the `user:password@` that it may hold."""

    with_credentials: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.with_credentials)
        _, at, place = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc="***@" * bool(at) + place))

    @property
    def place(self) -> str:
        """The address without credentials."""
        parts = urlsplit(self.with_credentials)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password, decoded; None where it holds no user."""
        parts = urlsplit(self.with_credentials)
        return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def read_registry(value: object) -> ServerUrl | None:
    """Return an http or https address without the slash at its end, and None for an empty text."""
    return _server(value, ("http", "https"), "not an http or https address: give one as in http://registry:8081")


def read_proxy(value: object) -> ServerUrl | None:
    """Return the http address of a proxy, which names its port and has no path, and None for an empty text."""
    hint = "not the address of an HTTP proxy: give one as in http://proxy:3128"
    url = _server(value, ("http",), hint)
    if url and (urlsplit(url.with_credentials).path or urlsplit(url.with_credentials).port is None):
        raise ValueError(hint)
    return url


def _server(value: object, schemes: Sequence[str], otherwise: str) -> ServerUrl | None:
    if not value:
        return None
    text = read_text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        complete = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or port
        complete = False
    if not complete or parts.query or parts.fragment or any(c.isspace() for c in text):
        raise ValueError(otherwise)
    return ServerUrl(text)


def write_server(url: ServerUrl | None) -> str:
    """Return the address as people may see it, and nothing where there is none."""
    return str(url or "")


def read_names(value: object) -> frozenset[str]:
    """Return the words of a text or of a list, between commas or blanks."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple | frozenset) else value
    if not isinstance(text, str):
        raise ValueError("not a list of names: give them between commas")
    return frozenset(word for word in re.split(r"[,\s]+", text) if word)


def write_names(names: Iterable[str]) -> str:
    """Return the text that `read_names` reads as these names."""
    return ",".join(sorted(names))
