#!/usr/bin/env python3
"""Destinations that nobody may be made to call: each is tried for real, where no packet can leave this machine.

    python tests/forbidden.py

The tries run in a network namespace of their own, which has a loopback interface, no other, and no route; names are
resolved by a DNS server in it. Each destination is tried by the transport and by a blocking service's session. A trap
listens on every loopback address there, and what it accepts is counted: it has to be nothing. An address that is not of
this machine cannot be connected to there, whoever tries: so it has to be refused, before the network says so. That
public addresses are let through, and allowed ones reached, is tried as well. It prints one table; the exit code is 1
if anything was connected to or tried that should not be, and 2 where there can be no namespace.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import requests  # noqa: E402
from receivers import Receiver, Reply  # noqa: E402

from consumer.egress import EgressPolicy, parse_cidrs  # noqa: E402
from consumer.guarded import Guard, GuardedSession, Refused  # noqa: E402
from consumer.transport import Transport  # noqa: E402
from consumer.wire import Answer, AnswerKind, Request  # noqa: E402

RESOLVER = "127.0.0.53"
SECONDS = 120.0  # for all of it; it takes some five
PUBLIC = "8.8.8.8"

ADDRESSES = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this network",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.0": "shared",
    "100.127.255.255": "shared",
    "100.100.100.200": "metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata",
    "169.254.0.1": "link-local",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocols",
    "192.0.0.192": "metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "0:0:0:0:0:0:0:1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "0:0:0:0:0:ffff:a9fe:a9fe": "metadata",
    "::ffff:10.1.2.3": "private",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b::192.168.1.1": "private",
    "64:ff9b:1::8.8.8.8": "NAT64",
    "64:ff9b:1:ffff::1": "NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "protocols",
    "2001:10::1": "protocols",
    "2001:20::1": "protocols",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "4000::1": "outside the public IPv6 range",
    "5f00::1": "outside the public IPv6 range",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
    "fdff:ffff::1": "private",
    "fe80::1": "link-local",
    "febf::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}
"""Addresses, and what the policy calls them."""

LOOPBACK_NOTATIONS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "app.localhost",
    "2130706433",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "hooks.example.com@127.0.0.1",
    "hooks.example.com:443@127.0.0.1",
    "joe:pass%40word@127.0.0.1",
]
"""Hosts as they may stand in a URL, all of which lead to this machine."""
NOTATIONS = [
    *LOOPBACK_NOTATIONS,
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.16689662",
    "3232235521",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1%25lo]",
    "8.8.8.8@169.254.169.254",
]
"""The same, and hosts that lead to others of the addresses above."""

NAMES: Mapping[str, Sequence[str]] = {
    "loopback.test": ["127.0.0.1"],
    "loopback6.test": ["::1"],
    "metadata.test": ["169.254.169.254"],
    "metadata6.test": ["fd00:ec2::254"],
    "private.test": ["10.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "zero.test": ["0.0.0.0"],
}
"""Names of the tries' own resolver, and what it says."""

SCHEMES = ["ftp", "file", "gopher", "dict", "ldap", "smb", "telnet", "ws", "unix", "jar"]

REBOUND = "rebound.test"  # a public address at first, 127.0.0.1 from the second question on
OUTSIDE = "outside.test"


class Try(NamedTuple):
    """One row: what is tried, the URL without its port, and what came of it by each client."""

    what: str
    url: str
    by_transport: str
    by_session: str


class Trap:
    """Listens on all loopback addresses, and counts what it accepts."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0

    def count(self) -> int:
        """Return how many connections there were so far: a connection is made before anybody accepts it."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return self.accepted
            self.accepted += 1
            connection.close()


class Resolver:
    """A DNS server on 127.0.0.53: answers for the names above, and says of all others that there are none."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((RESOLVER, 53))
        self._zone = {**NAMES, OUTSIDE: [PUBLIC], REBOUND: [PUBLIC]}
        threading.Thread(target=self._serve, name="resolver", daemon=True).start()

    def rebind(self) -> None:
        """Say something else of a name from now on."""
        self._zone = {**self._zone, REBOUND: ["127.0.0.1"]}

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(1_500)
            self._socket.sendto(self._reply(query), client)

    def _reply(self, query: bytes) -> bytes:
        """Answer one question (RFC 1035, 4.1); the time to live is nothing."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
            at += 1 + length
        (kind,) = struct.unpack_from("!H", query, at + 1)
        question = query[12 : at + 5]
        known = self._zone.get(".".join(labels))
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        packed = [socket.inet_pton(family, text) for text in known or () if family and (":" in text) is (kind == 28)]
        flags = 0x8180 if known else 0x8183
        answers = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(each)) + each for each in packed)
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(packed), 0, 0) + question + answers


def tries(trap: Trap, resolver: Resolver) -> Iterator[Try]:
    """Try everything, one after the other."""
    public = EgressPolicy()

    def row(what: str, host: str, policy: EgressPolicy = public) -> Try:
        return Try(what, f"http(s)://{host}/", *_by_both(f"{host}:{trap.port}/", policy))

    for address, what in ADDRESSES.items():
        yield row(what, f"[{address}]" if ":" in address else address)
    for host in NOTATIONS:
        yield row("notation", host)
    for name, addresses in NAMES.items():
        yield row(f"resolves to {addresses[0]}", name)
    for scheme in SCHEMES:
        url = f"{scheme}://127.0.0.1:{trap.port}/"
        yield Try("scheme", f"{scheme}://127.0.0.1/", *_each(url, public))
    yield from _redirects(trap)
    yield Try("before rebinding", f"http(s)://{REBOUND}/", *_by_both(f"{REBOUND}:{trap.port}/", public))
    resolver.rebind()
    yield row("rebound to 127.0.0.1", REBOUND)
    for host in (PUBLIC, OUTSIDE):
        yield row("public", host)


def _redirects(trap: Trap) -> Iterator[Try]:
    """A receiver that may be called sends on to what may not."""
    receivers_only = EgressPolicy(parse_cidrs("127.0.0.1"))
    targets = [f"http://127.0.0.2:{trap.port}/", f"http://localhost:{trap.port}/", "http://169.254.169.254/latest"]
    for status in (301, 302, 307, 308):
        for target in targets:
            with Receiver([Reply(status, headers={"Location": target})]) as receiver:
                shown = target.replace(f":{trap.port}", "")
                yield Try(f"redirect {status}", f"to {shown}", *_each(receiver.url, receivers_only))


def _by_both(rest: str, policy: EgressPolicy) -> tuple[str, str]:
    """Return what came of http and https by each client; both have to come to the same."""
    plain, tls = _each(f"http://{rest}", policy), _each(f"https://{rest}", policy)
    transport, session = ({one, other} for one, other in zip(plain, tls, strict=True))
    return " / ".join(sorted(transport)), " / ".join(sorted(session))


def _each(url: str, policy: EgressPolicy) -> tuple[str, str]:
    return by_transport(url, policy), by_session(url, policy)


def by_transport(url: str, policy: EgressPolicy) -> str:
    """Return what a new transport makes of a request: refused, tried in vain, or answered."""

    async def send() -> Answer:
        transport = Transport(policy=policy, connect_timeout=2, attempt_timeout=2)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        transport.start(Request("POST", url, [], b"{}"), answer.set_result)
        try:
            return await asyncio.wait_for(answer, 20)
        finally:
            await transport.aclose()

    answer = asyncio.run(send())
    if answer.kind is AnswerKind.REFUSED:
        return "refused"
    return f"answered {answer.status}" if answer.kind is AnswerKind.ANSWERED else "tried"


def by_session(url: str, policy: EgressPolicy) -> str:
    """Return what a blocking service's session makes of a request."""
    with GuardedSession(Guard(policy), connect_timeout=2, read_timeout=2) as session:
        try:
            session.post(url, data=b"{}")
        except (Refused, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL):
            return "refused"
        except requests.HTTPError as error:
            return f"answered {error.response.status_code}"
        except requests.ConnectionError as error:
            return "no such name" if "resolve" in str(error).lower() else "tried"
        except requests.RequestException:
            return "tried"
    return "answered 2xx"


def right(row: Try) -> bool:
    """Whether a row came to what it should."""
    if row.what.startswith("redirect"):
        return {row.by_transport, row.by_session} == {f"answered {row.what.split()[1]}"}
    if row.what in ("before rebinding", "public"):
        return row.by_transport == row.by_session == "tried"
    return row.by_transport == "refused" and row.by_session in ("refused", "no such name")


def inside() -> int:
    """Try everything in this namespace, which was made for it; returns the exit code."""
    _loopback_up()
    trap, resolver = Trap(), Resolver()
    rows = [(row, trap.count()) for row in tries(trap, resolver)]
    wrong = [row for row, connections in rows if connections or not right(row)]
    show(rows)
    reached = _reached_if_allowed(trap)
    print(f"{len(rows)} destinations; connections: {rows[-1][1]}; where 127.0.0.0/8 is allowed: {reached} of 2")
    for row in wrong:
        print(f"WRONG: {row.what}: {row.url}")
    return 1 if wrong or reached != 2 else 0


def _reached_if_allowed(trap: Trap) -> int:
    """What is counted would be seen: both clients connect to the trap where they may."""
    allowed = EgressPolicy(parse_cidrs("127.0.0.0/8"))
    before = trap.count()
    _each(f"http://127.0.0.1:{trap.port}/", allowed)
    return trap.count() - before


def show(rows: Sequence[tuple[Try, int]]) -> None:
    """Print the table."""
    width = max(len(row.url) for row, _ in rows)
    kind = max(len(row.what) for row, _ in rows)
    print(f"{'':{kind}}  {'destination':{width}}  transport     blocking service  connections")
    for row, connections in rows:
        print(f"{row.what:{kind}}  {row.url:{width}}  {row.by_transport:12}  {row.by_session:16}  {connections}")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up_and_running = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING; SIOCSIFFLAGS: netdevice(7)
        fcntl.ioctl(any_socket, 0x8914, up_and_running)


def command(folder: Path) -> list[str]:
    """Return what runs this script in a namespace of its own, with our resolver for names."""
    names = folder / "resolv.conf"
    names.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    python = [sys.executable, str(Path(__file__).resolve()), "--inside"]
    return ["unshare", *root, "--net", "--mount", "sh", "-c", script, str(names), *python]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, in a namespace of its own; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--inside" in arguments:
        return inside()
    if shutil.which("unshare") is None:
        print("there is no unshare here, which makes network namespaces (Linux, util-linux)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="forbidden-") as folder:
        return subprocess.run(command(Path(folder)), timeout=SECONDS, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
