"""The subscriptions file as it changes: written, replaced or linked anew, it is noticed and read whole."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest
from harness import Ping, Threaded

from consumer.changes import changes
from consumer.errors import ConfigurationError
from consumer.subscriptions_file import SubscriptionsFile
from consumer.watch import Watch
from services import Secret

PATIENCE = 10.0  # seconds


class Guarded(Ping):
    """
    Guarded

    Takes a secret.
    """

    class Options(Ping.Options):
        key: Secret = ""  # type: ignore[assignment]


SERVICES = {"ping": Guarded, "threaded": Threaded}


def text(*ids: str, key: str = "") -> str:
    options = f", options: {{key: '{key}'}}" if key else ""
    return "subscriptions:\n" + "".join(f"  - {{id: {id_}, product: 1, service: ping{options}}}\n" for id_ in ids)


def opened(path: Path, **environ: str) -> SubscriptionsFile:
    file = SubscriptionsFile(path, environ, SERVICES)
    file.read()
    return file


def ids(file: SubscriptionsFile) -> list[str] | None:
    found = file.look()
    return None if found is None else [each.id for each in found.subscriptions]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "subscriptions.yaml"
    path.write_text(text("a"))
    return path


def test_what_has_not_changed_is_not_read_again(path: Path) -> None:
    file = opened(path)
    assert ids(file) is None
    assert file.look(anew=True) is not None


def test_it_is_read_when_it_is_written_and_when_it_is_replaced(path: Path) -> None:
    file = opened(path)
    path.write_text(text("a", "b"))
    assert ids(file) == ["a", "b"]
    other = path.with_name("other")
    other.write_text(text("b", "c"))
    os.replace(other, path)
    assert ids(file) == ["b", "c"]
    assert ids(file) is None


def test_links_are_followed_as_kubernetes_sets_them_anew(tmp_path: Path) -> None:
    """`subscriptions.yaml` -> `..data/subscriptions.yaml`, and `..data` -> a folder that is replaced by another one."""
    for name, content in (("..1", text("a")), ("..2", text("a", "b"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "subscriptions.yaml").write_text(content)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "subscriptions.yaml").symlink_to("..data/subscriptions.yaml")
    file = opened(tmp_path / "subscriptions.yaml")
    (tmp_path / "..data_tmp").symlink_to("..2")
    os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
    assert ids(file) == ["a", "b"]


def test_a_problem_refuses_it_as_a_whole_once_and_it_is_read_when_it_is_mended(path: Path) -> None:
    file = opened(path)
    path.write_text(text("a", "b") + "  - {id: c}\n")
    with pytest.raises(ConfigurationError) as refused:
        file.look()
    assert len(refused.value.problems) == 2
    assert ids(file) is None, "it has not changed since it was refused"
    path.write_text(text("a", "b"))
    assert ids(file) == ["a", "b"]


def test_that_it_is_gone_is_a_problem(path: Path) -> None:
    file = opened(path)
    path.unlink()
    with pytest.raises(ConfigurationError, match="there is no such subscriptions file"):
        file.look()
    path.write_text(text("a"))
    assert ids(file) == ["a"]


def test_files_that_options_refer_to_are_looked_at_too(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "mounted" / "key"
    secret.parent.mkdir()
    secret.write_text("one")
    path.write_text(text("a", key=f"file:{secret}"))
    file = opened(path)
    (before,) = file.read().subscriptions
    secret.write_text("two")
    found = file.look()
    assert found is not None
    assert changes([before], found.subscriptions).changed == ("a",)
    assert found.subscriptions[0].service.options.key.get_secret_value() == "two"
    assert ids(file) is None
    secret.unlink()
    with pytest.raises(ConfigurationError, match="needs the file"):
        file.look()
    secret.write_text("three")
    assert ids(file) == ["a"], "it is mended by the file that it refers to"


def test_a_reference_that_is_new_is_looked_at_from_then_on(path: Path, tmp_path: Path) -> None:
    file = opened(path)
    secret = tmp_path / "key"
    secret.write_text("one")
    path.write_text(text("a", key="file:key"))
    assert ids(file) == ["a"]
    assert ids(file) == ["a"], "whether it changed while it was read is not known"
    assert ids(file) is None
    secret.write_text("two")
    assert ids(file) == ["a"]


def test_a_service_that_may_not_be_used_is_refused(path: Path) -> None:
    file = SubscriptionsFile(path, {}, SERVICES, lambda service: "is not allowed" if service is Guarded else "")
    with pytest.raises(ConfigurationError, match=r"subscriptions.yaml: subscription a: is not allowed"):
        file.read()


def test_one_that_is_just_being_written_is_waited_for(path: Path) -> None:
    file = opened(path)
    lines = text(*(f"s{n}" for n in range(20))).splitlines(keepends=True)
    begun = threading.Event()

    def write() -> None:
        with path.open("w") as out:
            for number, line in enumerate(lines):
                out.write(line)
                out.flush()
                if number == 1:
                    begun.set()
                time.sleep(0.005)  # as a slow disk takes

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(PATIENCE)
    found = file.look()
    writer.join()
    assert found is not None
    assert len(found.subscriptions) == 20


def test_a_change_wakes_who_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.watch.EVERY", 10 * PATIENCE)

    async def play() -> None:
        watched, folders = Watch(), [path.parent, path.parent / "nowhere"]
        waiting = asyncio.create_task(watched.wake(folders))
        async with asyncio.timeout(PATIENCE):
            while not waiting.done():  # the first may come before anything is watched
                path.write_text(text("a", "b"))
                await asyncio.sleep(0.05)
        await waiting
        path.write_text(text("a"))
        await asyncio.wait_for(watched.wake(folders), PATIENCE)
        await watched.close()

    asyncio.run(play())


def test_who_waits_is_woken_although_nothing_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        watched = Watch()
        for folders in ([], [tmp_path / "nowhere"], [tmp_path], [tmp_path]):
            await asyncio.wait_for(watched.wake(folders), PATIENCE)
        await watched.close()

    asyncio.run(play())


def test_where_changes_cannot_be_told_of_it_is_woken_all_the_same(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that goes before it can be watched is an error of the library's, as are too many watches."""

    class Vanishing(Watch):
        async def _begin(self, folders: frozenset[Path]) -> None:
            await super()._begin(frozenset(folder / "gone" for folder in folders))

    async def play() -> None:
        watched = Vanishing()
        await asyncio.wait_for(watched.wake([path.parent]), PATIENCE)
        await watched.close()

    asyncio.run(play())
    assert "looked for instead" in capsys.readouterr().out
