"""All hostile peers of `peers.py`, in a process of their own: what they take is not taken from whom they attack.

with Crowd(folder) as crowd:
    crowd.urls  # where each of them is
    crowd.look()  # what each of them has seen so far
"""

from __future__ import annotations

import multiprocessing
import os
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from peers import HTTP, MAIL, Peer, Tls, bomb

PATIENCE = 60.0  # seconds that the making of the largest answers may take, on a busy machine
NICE = 10  # elsewhere they would be on machines of their own


class Seen(NamedTuple):
    """What a peer saw: connections, and the seconds of the longest."""

    connections: int
    longest: float


class Crowd:
    """The peers, named as `webhook: NAME`, `blocking: NAME` and `mail: NAME`, while the `with` block runs.

    `bundle` holds the certificates that are to be trusted; it is made in `folder`.
    """

    def __init__(self, folder: Path) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._ours, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=[folder, theirs], daemon=True)
        self.bundle = folder
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._process.start()
        self.bundle, self.urls = self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()

    def look(self) -> dict[str, Seen]:
        """Return what each peer has seen."""
        self._ours.send(None)
        found: dict[str, Seen] = self._answer()
        return found

    def _answer(self) -> Any:
        if not self._ours.poll(PATIENCE):
            raise TimeoutError(f"the hostile peers said nothing for {PATIENCE:g} s")
        return self._ours.recv()


def _serve(folder: Path, asked: Connection) -> None:
    """Be the peers, and answer each message with what they have seen."""
    os.nice(NICE)
    tls = Tls(folder)
    with ExitStack() as stack, suppress(EOFError):  # the other side has ended
        peers = {name: stack.enter_context(peer) for name, peer in _peers(tls).items()}
        asked.send((tls.bundle, {name: peer.url for name, peer in peers.items()}))
        while True:
            asked.recv()
            asked.send({name: Seen(peer.connections, peer.longest) for name, peer in peers.items()})


def _peers(tls: Tls) -> dict[str, Peer]:
    for coding, times in (("gzip", 1), ("gzip", 3), ("deflate", 1)):
        bomb(coding, times)  # before anything waits for it
    made: dict[str, Peer] = {}
    for name, hostile in HTTP.items():
        made[f"webhook: {name}"] = Peer(hostile.play, tls.context(hostile.tls))
        made[f"blocking: {name}"] = Peer(hostile.play, tls.context(hostile.tls))
    return made | {f"mail: {name}": Peer(make(tls)) for name, make in MAIL.items()}
