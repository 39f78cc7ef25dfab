"""A process that is measured: started in a session of its own, watched by what Linux tells of it, ended in order."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
MANY_FILES = 32_768
STOPPING = 60.0  # seconds that an orderly end may take, before it is killed
TELLING = {"PYTHONFAULTHANDLER": "1"}  # has Python write down where each thread is when it is killed for that
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """Runs `command` in the project's folder until the `with` block ends; what it says goes to the file `log`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            # Ctrl-C is for the benchmark, which then ends this one; else this one would be signalled twice.
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**environ, **TELLING}, stdout=output, stderr=output, start_new_session=True
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The last line that it wrote."""
        return (self.text.strip().splitlines() or ["it said nothing"])[-1]

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def peak(self) -> float:
        """Return the most memory that it has had, in MB (resident)."""
        return self._memory("VmHWM:")

    def resident(self) -> float:
        """Return the memory that it has now, in MB."""
        return self._memory("VmRSS:")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(name)[2].split()[0]) * 1024 / 1e6

    def stop(self) -> int | None:
        """End it as an operator does; returns its exit code, None if it had to be killed.

        Where its threads were then stands in its log, if it is a Python program.
        """
        self._process.terminate()
        try:
            return self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)
            self._process.wait()
            return None

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def environ(self) -> dict[str, str]:
        """Return the environment that it was started with, as it sees it itself."""
        entries = Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0")
        return dict(os.fsdecode(entry).split("=", 1) for entry in entries if entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def allow_many_files() -> None:
    """Raise the soft limit of open files to what connections may need, for processes that are started later too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, its own and the kernel's on its behalf, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
