"""Hostile peers on 127.0.0.1: each takes connections and does its worst, until the other side goes away.

    with Peer(HTTP["drips its body"].play) as peer:
        ...  # post to peer.url
    peer.longest  # seconds that the longest connection took

What one of them does is a function of its socket, run on a thread of its own. `HTTP` has those that web servers can do,
over TLS as well, and what becomes of the attempt by the transport; `MAIL` has those of mail servers.
"""

from __future__ import annotations

import gzip
import ipaddress
import itertools
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Play: TypeAlias = Callable[[socket.socket], object]
PATIENCE = 60.0  # seconds that a peer goes on, should nobody ever hang up
PAUSE = 0.1  # seconds between two bytes of one who drips
LOTS = 10_000_000_000  # bytes
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BLOCK = b"x" * 65_536


class Peer:
    """Listens on a free port of 127.0.0.1 while its `with` block runs, and plays with each connection.

    With `tls` it speaks TLS first. `connections` are counted, `longest` is what the longest took so far, in seconds.
    """

    def __init__(self, play: Play, tls: ssl.SSLContext | None = None) -> None:
        self._play = play
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.longest = 0.0

    @property
    def url(self) -> str:
        """The peer's address without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, name="peer", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._have, args=[connection], name="peer", daemon=True).start()

    def _have(self, connection: socket.socket) -> None:
        began = time.monotonic()
        connection.settimeout(PATIENCE)
        with self._lock:
            self.connections += 1
            self._open.add(connection)
        try:
            with suppress(OSError):  # the other side has gone, which is what all of them wait for
                self._play(self._secured(connection))
        finally:
            with self._lock:
                self.longest = max(self.longest, time.monotonic() - began)
                self._open.discard(connection)
                connection.close()

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        secured = self._tls.wrap_socket(connection.dup(), server_side=True)
        secured.settimeout(PATIENCE)
        return secured


# What peers are made of


def answering(*pieces: bytes, then: Iterable[bytes] = (), pause: float = 0.0) -> Play:
    """Read a request, and send these pieces and those that follow, one every `pause` seconds."""

    def play(connection: socket.socket) -> None:
        request(connection)
        for piece in itertools.chain(pieces, then):
            connection.sendall(piece)
            time.sleep(pause)

    return play


def dripping(data: bytes) -> Play:
    """Read a request, and send this byte by byte."""
    return lambda connection: answering(then=(bytes([byte]) for byte in data), pause=PAUSE)(connection)


def endless(*pieces: bytes, then: bytes, pause: float = 0.0) -> Play:
    """Read a request, send these pieces, and the last one for ever."""
    return lambda connection: answering(*pieces, then=itertools.repeat(then), pause=pause)(connection)


def request(connection: socket.socket) -> bytes:
    """Return a request as it came; raises ConnectionError where there is none."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += _received(connection)
    head, _, body = came.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _received(connection)
    return head + b"\r\n\r\n" + body


def _received(connection: socket.socket) -> bytes:
    if piece := connection.recv(65_536):
        return piece
    raise ConnectionError("the other side has hung up")


def until_gone(connection: socket.socket) -> None:
    """Say nothing, and read until the other side goes away."""
    while connection.recv(65_536):
        pass


def never_reads(connection: socket.socket) -> None:
    """Read nothing at all: the other side's hanging up is seen by its effect on the socket's state alone."""
    while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) in (b"\x01", b"\x03"):  # established, SYN
        time.sleep(PAUSE)


def resets(connection: socket.socket) -> None:
    """End the connection by a reset, in the middle of a body."""
    answering(OK + b"Content-Length: 9\r\n\r\nhalf")(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # on, 0 s: a reset


def half_closes(connection: socket.socket) -> None:
    """Say that nothing comes, and go on listening."""
    request(connection)
    connection.shutdown(socket.SHUT_WR)
    until_gone(connection)


def answers_first(connection: socket.socket) -> None:
    """Answer before there is a request, and then hear it."""
    connection.sendall(OK + b"Content-Length: 0\r\n\r\n")
    until_gone(connection)


def answers_twice(connection: socket.socket) -> None:
    """Answer each request with 200, and add a 410 that nobody asked for: it would disable the next one's sender."""
    while True:
        request(connection)
        connection.sendall(OK + b"Content-Length: 0\r\n\r\nHTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")


def throttling(value: str, status: str = "429 Too Many Requests") -> Play:
    return answering(f"HTTP/1.1 {status}\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode())


def redirecting(location: str) -> Play:
    """Send the other side elsewhere; `{port}` stands for the peer's own."""

    def play(connection: socket.socket) -> None:
        there = location.format(port=connection.getsockname()[1]).encode()
        answering(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + there + b"\r\nContent-Length: 0\r\n\r\n")(
            connection
        )

    return play


def unpacking(coding: str, times: int = 1) -> Play:
    """Answer with a body of a megabyte at most that unpacks to gigabytes, if somebody unpacks it `times` times."""
    head = f"{OK.decode()}Content-Encoding: {', '.join([coding] * times)}\r\n\r\n".encode()
    return lambda connection: answering(head, bomb(coding, times))(connection)


@cache
def bomb(coding: str, times: int) -> bytes:
    if coding == "br":
        return bytes(100_000)
    packer = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    packed = b"".join(packer.compress(bytes(10_000_000)) for _ in range(20)) + packer.flush()
    for _ in range(times - 1):
        packed = gzip.compress(packed)
    return packed


# HTTP/2 by hand (RFC 9113): a frame is a length, a type, flags, a stream and what it carries.

DATA, HEADERS, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 4, 6, 7, 9
STATUS_200 = b"\x88"  # of the static table: RFC 7541, A


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def http2(*frames: bytes, then: bytes = b"") -> Play:
    """Speak HTTP/2: hear the request, send these frames and the last one for ever, or be silent."""

    def play(connection: socket.socket) -> None:
        connection.sendall(frame(SETTINGS))
        _received(connection)
        time.sleep(PAUSE)  # the request follows what a client begins with
        for each in itertools.chain(frames, itertools.repeat(then) if then else ()):
            connection.sendall(each)
        until_gone(connection)

    return play


# Certificates


class Names(NamedTuple):
    """What a TLS server is known by: its context, and a PEM file of the certificate by itself."""

    context: ssl.SSLContext
    certificate: Path


def named(folder: Path, name: str, *, expired: bool = False) -> Names:
    """Make a certificate, signed by itself, for an address; and what speaks TLS with it, HTTP/2 if it is wanted."""
    key, ends = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) + timedelta(days=-1 if expired else 1)
    number = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"peer {number}")])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), number)
        .not_valid_before(ends - timedelta(days=9))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{number}.pem"
    path.write_bytes(certificate)
    both = folder / f"{number}-key.pem"
    both.write_bytes(certificate + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return Names(context, path)


class Tls:
    """The TLS that peers speak; `bundle` holds what is to be trusted."""

    def __init__(self, folder: Path) -> None:
        good, wrong, old = (
            named(folder, "127.0.0.1"),
            named(folder, "192.0.2.1"),
            named(folder, "127.0.0.1", expired=True),
        )
        second = named(folder, "127.0.0.1")
        second.context.set_alpn_protocols(["h2"])
        self.bundle = folder / "bundle.pem"
        self.bundle.write_text("".join(each.certificate.read_text() for each in (good, wrong, old, second)))
        self._contexts = {
            "good": good.context,
            "wrong name": wrong.context,
            "expired": old.context,
            "self-signed": named(folder, "127.0.0.1").context,
            "h2": second.context,
        }

    def context(self, kind: str) -> ssl.SSLContext | None:
        """Return what a peer of this kind needs; nothing for one that speaks no TLS."""
        return self._contexts[kind] if kind else None


class Hostile(NamedTuple):
    """What a peer does; what the transport makes of it: a status, 0 for none; and what is said of it."""

    play: Play
    status: int = 0
    said: str = ""
    tls: str = ""


_LINES = b"A: b\r\n" * 1_000
_FINE = answering(OK + b"Content-Length: 0\r\n\r\n")

HTTP: dict[str, Hostile] = {
    # 10 GB
    "10 GB with a length": Hostile(endless(OK + b"Content-Length: %d\r\n\r\n" % LOTS, then=BLOCK), 200),
    "10 GB in chunks": Hostile(endless(CHUNKED, then=b"10000\r\n" + BLOCK + b"\r\n"), 200),
    "10 GB until it ends": Hostile(endless(OK + b"\r\n", then=BLOCK), 200),
    "10 GB with an error": Hostile(endless(b"HTTP/1.1 404 No\r\n\r\n", then=BLOCK), 404),
    # Slowly
    "drips its status": Hostile(dripping(OK + b"\r\n" * 99), 0, "no complete answer"),
    "drips its headers": Hostile(endless(OK, then=b"A: b\r\n", pause=PAUSE), 0, "no complete answer"),
    "drips one header": Hostile(endless(OK + b"A: ", then=b"b", pause=PAUSE), 0, "no complete answer"),
    "drips its body": Hostile(endless(OK + b"\r\n", then=b"x", pause=PAUSE), 0, "no complete answer"),
    "drips 1xx": Hostile(endless(then=b"HTTP/1.1 100 Continue\r\n\r\n", pause=PAUSE), 0, "no complete answer"),
    "drips chunks": Hostile(endless(CHUNKED, then=b"1\r\nx\r\n", pause=PAUSE), 0, "no complete answer"),
    "never answers": Hostile(until_gone, 0, "no complete answer"),
    # Heads
    "endless headers": Hostile(endless(OK, then=_LINES), 0, "too large|broke"),
    "an endless header": Hostile(endless(OK + b"A: ", then=BLOCK), 0, "too large|broke"),
    "a header of 10 MB": Hostile(answering(OK + b"A: " + b"b" * 10_000_000 + b"\r\n\r\n"), 0, "too large|broke"),
    "an endless status": Hostile(endless(b"HTTP/1.1 200 ", then=BLOCK), 0, "too large|broke"),
    "4,000 cookies": Hostile(answering(OK + b"Set-Cookie: a=b\r\n" * 4_000 + b"Content-Length: 0\r\n\r\n"), 200),
    # Interim answers
    "a flood of 100": Hostile(endless(then=b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000), 0, "too large|broke"),
    "a flood of 102": Hostile(endless(then=b"HTTP/1.1 102 Processing\r\n\r\n" * 1_000), 0, "too large|broke"),
    "a flood of 103": Hostile(endless(then=b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n" * 1_000), 0, "too large|broke"),
    # Chunks
    "a chunk of no size": Hostile(answering(CHUNKED + b"no-size\r\n"), 0, "broke"),
    "a chunk of too large a size": Hostile(answering(CHUNKED + b"f" * 17 + b"\r\nx"), 0, "broke"),
    "a chunk without an end": Hostile(answering(CHUNKED + b"9\r\nhalf"), 0, "before the end"),
    "an endless chunk size": Hostile(endless(CHUNKED, then=b"0" * 65_536), 0, "broke"),
    "an endless chunk extension": Hostile(endless(CHUNKED + b"1;", then=BLOCK), 0, "does not end"),
    "endless trailers": Hostile(endless(CHUNKED + b"0\r\n", then=_LINES), 0, "too large|broke"),
    # Compressed
    "a bomb of gzip": Hostile(unpacking("gzip"), 200),
    "a bomb of deflate": Hostile(unpacking("deflate"), 200),
    "a bomb in a bomb": Hostile(unpacking("gzip", 3), 200),
    "a bomb of 99 gzips": Hostile(
        answering(OK + b"Content-Encoding: " + b"gzip, " * 99 + b"gzip\r\n\r\n" + BLOCK), 200
    ),
    "br that is none": Hostile(unpacking("br"), 200),
    # Elsewhere
    "redirects to loopback": Hostile(redirecting("http://127.0.0.1:{port}/other"), 307),
    "redirects to a file": Hostile(redirecting("file:///etc/passwd"), 307),
    "redirects to itself": Hostile(redirecting("/"), 307),
    "redirects far": Hostile(redirecting("http://127.0.0.1:{port}/" + "x" * 10_000), 307),
    # Statuses
    "status 000": Hostile(answering(b"HTTP/1.1 000 Oh\r\nContent-Length: 0\r\n\r\n"), 0, "without a status line"),
    "status 999": Hostile(answering(b"HTTP/1.1 999 Oh\r\nContent-Length: 0\r\n\r\n"), 999),
    "status 1000": Hostile(answering(b"HTTP/1.1 1000 Oh\r\nContent-Length: 0\r\n\r\n"), 0, "without an answer"),
    "garbage": Hostile(answering(bytes(range(256)) * 99), 0, "without a status line|not HTTP"),
    # Waiting for ever
    "Retry-After of 10^30": Hostile(throttling("1" + "0" * 30), 429),
    "Retry-After of -1": Hostile(throttling("-1"), 429),
    "Retry-After in 9999": Hostile(throttling("Fri, 31 Dec 9999 23:59:59 GMT"), 429),
    "Retry-After of rubbish": Hostile(throttling("\xff%s{0}soon"), 429),
    # Connections
    "hangs up": Hostile(request, 0, "without an answer"),
    "resets": Hostile(resets, 0, "broke"),
    "half-closes": Hostile(half_closes, 0, "without an answer"),
    "answers first": Hostile(answers_first, 200),
    "never reads": Hostile(never_reads, 0, "no complete answer"),
    "answers twice": Hostile(answers_twice, 200),
    # TLS
    "a wrong name": Hostile(_FINE, 0, "not trusted", "wrong name"),
    "an expired certificate": Hostile(_FINE, 0, "not trusted", "expired"),
    "a certificate of its own": Hostile(_FINE, 0, "not trusted", "self-signed"),
    "drips over TLS": Hostile(endless(OK + b"\r\n", then=b"x", pause=PAUSE), 0, "no complete answer", "good"),
    "10 GB over TLS": Hostile(endless(OK + b"\r\n", then=BLOCK), 200, "", "good"),
    # HTTP/2
    "HTTP/2: silent": Hostile(http2(), 0, "no complete answer", "h2"),
    "HTTP/2: floods settings": Hostile(http2(then=frame(SETTINGS) * 1_000), 0, "127.0.0.1", "h2"),
    "HTTP/2: floods pings": Hostile(http2(then=frame(PING, bytes(8)) * 1_000), 0, "127.0.0.1", "h2"),
    "HTTP/2: an endless head": Hostile(
        http2(frame(HEADERS, STATUS_200, 0, 1), then=frame(CONTINUATION, b"\x00\x01a\x01b" * 1_000, 0, 1)),
        0,
        "127.0.0.1",
        "h2",
    ),
    "HTTP/2: 10 GB": Hostile(
        http2(frame(HEADERS, STATUS_200, 4, 1), then=frame(DATA, BLOCK[:16_384], 0, 1)), 200, "", "h2"
    ),
    "HTTP/2: goes away": Hostile(http2(frame(GOAWAY, bytes(8))), 0, "127.0.0.1", "h2"),
    "HTTP/2: garbage": Hostile(http2(BLOCK), 0, "127.0.0.1", "h2"),
}


# Mail servers

_EHLO = b"250-peer\r\n250 STARTTLS\r\n"


def mailing(greeting: bytes, *replies: bytes, then: bytes = b"", pause: float = 0.0) -> Play:
    """Greet, give each command its reply, and after the last one say something for ever, or nothing at all."""

    def play(connection: socket.socket) -> None:
        connection.sendall(greeting)
        for reply in replies:
            _received(connection)
            connection.sendall(reply)
        while then:
            connection.sendall(then)
            time.sleep(pause)
        until_gone(connection)

    return play


def hangs_up(*replies: bytes) -> Play:
    """Give each command its reply, and end the connection."""

    def play(connection: socket.socket) -> None:
        connection.sendall(b"220 peer\r\n")
        for reply in replies:
            _received(connection)
            connection.sendall(reply)

    return play


def _plain(play: Play) -> Callable[[Tls], Play]:
    return lambda _tls: play


def _over(kind: str, play: Play) -> Callable[[Tls], Play]:
    return lambda tls: lambda connection: _secured(tls, kind, play, connection)


def _secured(tls: Tls, kind: str, play: Play, connection: socket.socket) -> None:
    """Take STARTTLS with a certificate of this kind, and play on over it."""
    context = tls.context(kind)
    assert context is not None
    connection.sendall(b"220 peer\r\n")
    for reply in (_EHLO, b"220 go\r\n"):
        _received(connection)
        connection.sendall(reply)
    with context.wrap_socket(connection.dup(), server_side=True) as secured:
        secured.settimeout(PATIENCE)
        play(secured)


_TAKEN = (b"250 peer\r\n", b"250 fine\r\n", b"250 fine\r\n", b"354 go\r\n")
MAIL: dict[str, Callable[[Tls], Play]] = {
    "never greets": _plain(mailing(b"")),
    "drips its greeting": _plain(mailing(b"220-", then=b"x", pause=PAUSE)),
    "drips greetings": _plain(mailing(b"", then=b"220-peer\r\n", pause=PAUSE)),
    "greets endlessly": _plain(mailing(b"", then=b"220-peer\r\n" * 1_000)),
    "replies 10 GB in a line": _plain(mailing(b"220 peer\r\n", b"250-", then=BLOCK)),
    "replies endlessly": _plain(mailing(b"220 peer\r\n", then=b"250-peer\r\n" * 1_000)),
    "drips its reply": _plain(mailing(b"220 peer\r\n", b"250-", then=b"x", pause=PAUSE)),
    "talks nonsense": _plain(mailing(b"", then=bytes(range(256)))),
    "hangs up in its greeting": _plain(lambda connection: connection.sendall(b"55")),
    "hangs up in a reply": _plain(hangs_up(b"550")),
    "hangs up at STARTTLS": _plain(hangs_up(_EHLO, b"")),
    "stalls at STARTTLS": _plain(mailing(b"220 peer\r\n", _EHLO, b"220 go\r\n")),
    "has a wrong name": _over("wrong name", until_gone),
    "has expired": _over("expired", until_gone),
    "drips over TLS": _over("good", mailing(b"", b"250-", then=b"x", pause=PAUSE)),
    "replies 10 GB over TLS": _over("good", mailing(b"", b"250-", then=BLOCK)),
    "drips what becomes of the mail": _over("good", mailing(b"", *_TAKEN, b"250-", then=b"x", pause=PAUSE)),
}
"""Mail servers that are spoken to by STARTTLS, by what they do: given the TLS, each is a play."""
