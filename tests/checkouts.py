"""A copy of this checkout, in which commands may write as a contributor's do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    *("consumer", "services", "schemas", "docs", "tests", "deploy", "benchmarks"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("pyproject.toml", "Dockerfile", "Makefile"),
)
PATIENCE = 120.0  # seconds for anything on a busy machine


def run(*command: str | Path, cwd: Path, env: dict[str, str], code: int = 0) -> str:
    """Run a command, which has to end with that code; returns what it printed and said."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


class Checkout:
    """The copied files, and commands that run on them in this environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name, **_without_caches(ROOT / name))  # type: ignore[operator]
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder),  # before the checkout that this environment was made for
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
        }

    def run(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run a module of Python, which has to end with that code; returns what it printed and said."""
        return run(sys.executable, "-m", *arguments, cwd=self.folder, env=self.environ | environ, code=code)

    def do(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run `sprintly-services services`."""
        return self.run("consumer", "services", *arguments, code=code, **environ)

    def test(self, *arguments: str) -> str:
        """Run tests, which have to pass."""
        return self.run("pytest", "-q", "-p", "no:cacheprovider", *arguments)


def _without_caches(path: Path) -> dict[str, object]:
    return {"ignore": shutil.ignore_patterns("__pycache__", "*.pyc")} if path.is_dir() else {}
