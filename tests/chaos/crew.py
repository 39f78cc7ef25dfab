"""The replicas of an installation, each under a name: started, killed, frozen and stopped, and what became of them."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from urllib.request import urlopen

from benchmarks.process import Process
from benchmarks.stage import STALLED

# Exit codes of a replica that SIGTERM met while it was still starting, or Python was not even loaded.
BEFORE_IT_BEGAN = (128 + signal.SIGTERM, -signal.SIGTERM)
BEGUN = "partitions assigned"  # what one has said by the time it has anything to end in order
SUCCESSOR = "successor"  # the name of the one that is about to take a replica's place
PATIENCE = 20.0  # seconds in which it has to be; Kafka may be away meanwhile, where that is played as well
OFTEN = 0.05  # seconds between two looks at whether it is ready


class Crew:
    """Starts processes by `start`. What must not be, as a replica that ends by itself, stands in `problems`.

    Each replica is acted upon by a thread of its own, and another one looks at all.
    """

    def __init__(self, start: Callable[[], Process]) -> None:
        self._start = start
        self._lock = threading.Lock()  # held to look, and to take off the list what is to end
        self._running: dict[str, Process] = {}
        self._frozen: set[str] = set()
        self.problems: list[str] = []
        self.slowest_stop = 0.0  # seconds that an orderly end took
        self.given_up = 0  # replacements, since the successor did not become ready
        self.slowest_start = 0.0  # seconds from the start of a successor until it was ready

    @property
    def running(self) -> dict[str, Process]:
        """Those that should be running, by name."""
        return dict(self._running)

    def start(self, name: str) -> None:
        """Start a replica under a name that none has."""
        self._running[name] = self._start()

    def kill(self, name: str) -> None:
        """End a replica as a power cut does."""
        self._take(name).kill()
        self._frozen.discard(name)

    def freeze(self, name: str) -> None:
        """Stop a replica where it stands, without its knowing."""
        os.kill(self._running[name].pid, signal.SIGSTOP)
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        """Let a replica go on."""
        os.kill(self._running[name].pid, signal.SIGCONT)
        self._frozen.discard(name)

    def add_successor(self) -> None:
        """Start a replica that is to take another one's place, and wait until it is ready; if it never is, give up."""
        began = time.monotonic()
        self.start(SUCCESSOR)
        while not is_ready(self._running[SUCCESSOR]):
            if time.monotonic() - began > PATIENCE:
                self.given_up += 1
                self.stop(SUCCESSOR)
                return
            time.sleep(OFTEN)
        self.slowest_start = max(self.slowest_start, time.monotonic() - began)

    def succeed(self, name: str) -> None:
        """End a replica in order, and have its successor go by its name, if there is one."""
        with self._lock:
            if SUCCESSOR not in self._running:
                return
            process = self._running.pop(name)
            self._running[name] = self._running.pop(SUCCESSOR)
        self._end_in_order(name, process)

    def stop(self, name: str) -> None:
        """End a replica in order."""
        self._end_in_order(name, self._take(name))

    def _end_in_order(self, name: str, process: Process) -> None:
        began = time.monotonic()
        code = process.stop()
        self.slowest_stop = max(self.slowest_stop, time.monotonic() - began)
        if code != 0 and not (code in BEFORE_IT_BEGAN and BEGUN not in process.text):
            self.problems.append(
                f"{name} (process {process.pid}) ended with {code} after SIGTERM: {process.last_words}"
            )

    def look(self) -> None:
        """Notice those that have ended by themselves, and start others in their place."""
        with self._lock:
            for name, process in list(self._running.items()):
                if not process.running:
                    self.problems.append(f"{name} (process {process.pid}) ended by itself: {process.last_words}")
                    self.start(name)

    def _take(self, name: str) -> Process:
        with self._lock:
            return self._running.pop(name)

    def end(self) -> None:
        """End all that are left, whatever they are doing."""
        for name in list(self._frozen):
            self.thaw(name)
        for process in self._running.values():
            process.kill()
        self._running.clear()


def is_ready(replica: Process) -> bool:
    """Whether a replica says that it can do its work."""
    port = re.search(r'"port": ?(\d+)', replica.text)
    if port is None:  # it has only just been started
        return False
    try:
        with urlopen(f"http://127.0.0.1:{port[1]}/readyz", timeout=STALLED):
            return True
    except OSError:  # 503, or it is just ending
        return False
