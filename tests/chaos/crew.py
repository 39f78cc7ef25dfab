"""The replicas of an installation, each under a name: started, killed, frozen and stopped, and what became of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from benchmarks.process import Process

# Exit codes of a replica that SIGTERM met while it was still starting, or Python was not even loaded.
BEFORE_IT_BEGAN = (128 + signal.SIGTERM, -signal.SIGTERM)
BEGUN = "partitions assigned"  # what one has said by the time it has anything to end in order


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

    def stop(self, name: str) -> None:
        """End a replica in order."""
        process = self._take(name)
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
