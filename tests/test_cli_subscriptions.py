"""`subscriptions check`, `set` and `list` on the fake broker: what they write and say, and what they never show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet

from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.cli import cli
from consumer.entries import Entries, read_entries
from consumer.event import Outgoing
from consumer.sealed import Seal
from consumer.subscriptions import available

TOPIC = "sprintly.subscriptions"
KEY, NEW = (Fernet.generate_key().decode() for _ in range(2))
SECRET = "t0ps3cret"
URL = f"https://hooks.example/{SECRET}"


class Bench:
    """A fake cluster with the topic, a folder, and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = MemoryBroker()
        topics = (TOPIC, "sprintly.events", "sprintly.events.state", "sprintly.events.control")
        self.broker.create([TopicSpec(name, 1) for name in topics])
        self.environ: dict[str, str | None] = {"SPRINTLY_SUBSCRIPTIONS": f"kafka:{TOPIC}", "COLUMNS": "200"}

    def run(self, *arguments: str, input: str = "", code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["subscriptions", *arguments], input=input, env=self.environ)
        error = result.exception
        # `main` turns the application's errors into sentences and codes; here they come as they are.
        found = getattr(error, "exit_code", result.exit_code)
        assert found == code, (result.output, error)
        assert SECRET not in f"{result.output}{error}"
        return result

    def refused(self, *arguments: str, code: int = 2, input: str = "") -> str:
        return str(self.run(*arguments, code=code, input=input).exception)

    def file(self, *entries: dict[str, Any]) -> str:
        path = self.folder / "subscriptions.yaml"
        path.write_text(yaml.safe_dump({"subscriptions": list(entries)}))
        return str(path)

    def read(self, *keys: str) -> Entries:
        return read_entries(self.broker.read(TOPIC), Seal(keys) if keys else None, available())

    @property
    def bytes(self) -> bytes:
        return b"".join((record.key or b"") + (record.value or b"") for record in self.broker.read(TOPIC))


pytestmark = pytest.mark.usefixtures("logging_as_it_was")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    for module in ("subscribing", "subscriptions", "topics"):
        monkeypatch.setattr(f"consumer.cli.{module}.kafka", lambda _: made.broker)
    return made


def entry(id_: str, urls: str | list[str] = URL, **more: Any) -> dict[str, Any]:
    return {"id": id_, "product": 1, "service": "webhook", "options": {"urls": urls}, **more}


def addresses(entries: Entries) -> dict[str, list[str]]:
    return {
        each.id: [url.get_secret_value() for url in each.service.options.urls]  # type: ignore[attr-defined]
        for each in entries.subscriptions
    }


def test_what_is_set_is_sealed_where_there_is_a_key(bench: Bench) -> None:
    bench.environ["SPRINTLY_OPTIONS_KEY"] = KEY
    (bench.folder / "url").write_text(URL + "\n")
    bench.environ["ACME_URL"] = URL
    done = bench.run("set", bench.file(entry("a", "file:url"), entry("b", "${ACME_URL}"), entry("c", "env:ACME_URL")))
    assert done.output == "a: set\nb: set\nc: set\n"
    assert addresses(bench.read(KEY)) == {id_: [URL] for id_ in "abc"}
    assert SECRET.encode() not in bench.bytes
    assert bench.read().subscriptions == ()
    assert bench.run("check").output == f"kafka:{TOPIC}: 3 subscription(s), and nothing is wrong with them\n"


def test_without_a_key_it_is_said_that_others_can_read_the_options(bench: Bench) -> None:
    done = bench.run("set", "-", input=json.dumps({"subscriptions": [entry("a")]}))
    assert done.stdout == "a: set\n"
    assert done.stderr == f"SPRINTLY_OPTIONS_KEY is not set: whoever reads {TOPIC} can read these options\n"
    assert addresses(bench.read()) == {"a": [URL]}
    assert SECRET.encode() in bench.bytes


def test_only_those_given_are_written_and_prune_removes_the_others_when_asked_twice(bench: Bench) -> None:
    bench.run("set", bench.file(entry("a"), entry("b"), entry("c")))
    bench.run("set", bench.file(entry("b", "https://other.example/")))
    assert addresses(bench.read()) == {"a": [URL], "b": ["https://other.example/"], "c": [URL]}
    file = bench.file(entry("a"), entry("d"))
    before = bench.bytes
    declined = bench.run("set", file, "--prune", input="n\n", code=1)
    assert f"Remove b, c from {TOPIC}?" in declined.stderr
    assert bench.bytes == before
    bench.run("set", file, "--prune", input="y\n")
    assert set(addresses(bench.read())) == {"a", "d"}
    assert bench.run("set", bench.file(entry("d")), "--prune", "--yes").output.endswith("d: set\na: removed\n")
    assert set(addresses(bench.read())) == {"d"}


def test_one_can_be_removed_by_an_unambiguous_beginning(bench: Bench) -> None:
    bench.run("set", bench.file(entry("acme-hook"), entry("acme-slack"), entry("other")))
    assert bench.refused("set", "--remove", "acme") == "several subscriptions begin with acme: acme-hook, acme-slack"
    assert bench.refused("set", "--remove", "none") == "there is no subscription none in the topic"
    both = bench.refused("set", bench.file(entry("other")), "--remove", "oth")
    assert both == "other: to be set and removed at once"
    bench.run("set", "--remove", "acme-h", "--remove", "other", "--yes")
    assert set(addresses(bench.read())) == {"acme-slack"}


def test_nothing_is_written_where_anything_is_wrong(bench: Bench) -> None:
    file = bench.file(entry("a"), entry("b", "file:none"), entry("c", service="nope"))
    said = bench.refused("set", file).splitlines()
    assert [line.removeprefix(f"{file}: ").partition(":")[0] for line in said] == ["subscription b", "subscription c"]
    assert bench.refused("check", file).splitlines() == said
    assert bench.bytes == b""


def test_a_file_is_checked_wherever_subscriptions_stand(bench: Bench) -> None:
    file = bench.file(entry("a"), entry("b", [URL, "https://other.example/"]))
    right = "3 subscription(s), and nothing is wrong with them\n"
    assert bench.run("check", file).output == f"{file}: {right}"
    text = Path(file).read_text()
    assert bench.run("check", "-", input=text).output == f"standard input: {right}"
    bench.environ["SPRINTLY_SUBSCRIPTIONS"] = file
    assert bench.run("check").output == f"{file}: {right}"
    changed = f"SPRINTLY_SUBSCRIPTIONS names the file {file}, which is changed itself, and no kafka:TOPIC"
    assert bench.refused("set", file) == changed
    assert bench.refused("check", "none") == "none: there is no such subscriptions file"


def test_all_are_sealed_again_by_a_new_key_and_what_cannot_be_is_named(bench: Bench) -> None:
    assert bench.refused("set", "--reseal") == "SPRINTLY_OPTIONS_KEY is not set: there is no key to seal by"
    bench.run("set", bench.file(entry("plain")))
    bench.environ["SPRINTLY_OPTIONS_KEY"] = KEY
    bench.run("set", bench.file(entry("sealed", enabled=False)))
    bench.environ["SPRINTLY_OPTIONS_KEY"] = f"{NEW},{KEY}"
    assert bench.run("set", "--reseal").output == "plain: sealed again\nsealed: sealed again\n"
    found = bench.read(NEW)
    assert addresses(found) == {"plain": [URL], "sealed": [URL]}
    assert [each.enabled for each in found.subscriptions] == [True, False]
    bench.run("set", bench.file(entry("late")))
    bench.environ["SPRINTLY_OPTIONS_KEY"] = KEY
    bench.run("set", bench.file(entry("lost")))
    bench.environ["SPRINTLY_OPTIONS_KEY"] = NEW
    said = bench.refused("set", "--reseal", code=1)
    assert said.startswith("subscription lost: options cannot be opened: ")
    assert said.endswith("\nthese stay as they are")
    assert set(addresses(bench.read(NEW))) == {"plain", "sealed", "late"}


def test_the_list_shows_those_of_the_topic_and_masks_their_secrets(bench: Bench) -> None:
    bench.environ["SPRINTLY_OPTIONS_KEY"] = KEY
    bench.run("set", bench.file(entry("a", events=["Item.*"]), entry("b", [URL, "https://other.example/"])))
    list(bench.broker.produce([Outgoing(TOPIC, b"bad", b'{"id": "bad", "options": {"url": "t0ps3cret"}}')]))
    rows = {row["id"]: row for row in json.loads(bench.run("list", "--json").stdout)}
    assert list(rows) == ["a", *sorted(each.id for each in bench.read(KEY).subscriptions if each.id != "a"), "bad"]
    assert rows["a"]["options"]["urls"] == ["**********"]
    assert (rows["a"]["standing"], rows["a"]["events"]) == ("enabled", ["Item.*"])
    assert rows["bad"]["standing"] == "set aside"
    assert rows["bad"]["reason"] == "product is missing; service is missing"
    assert "set aside" in bench.run("list").stdout
    said = bench.refused("check")
    assert said == f"kafka:{TOPIC}: subscription bad: product is missing; service is missing"
    assert bench.refused("forget", "bad").startswith(f"bad is in kafka:{TOPIC}: ")


@pytest.mark.parametrize(
    "arguments",
    [["set"], ["set", "--prune"], ["set", "x", "--reseal"], ["set", "--reseal", "--remove", "a"], ["set", "--yes"]],
)
def test_what_makes_no_sense_is_wrong_usage(bench: Bench, arguments: list[str]) -> None:
    assert "give" in bench.run(*arguments, code=2).output


def test_the_topic_is_made_with_the_others(bench: Bench) -> None:
    bench.broker = MemoryBroker()
    result = CliRunner().invoke(cli, ["topics", "create", "--json"], env=bench.environ)
    rows = {row["topic"]: row for row in json.loads(result.stdout)}
    assert len(rows) == 6
    assert (rows[TOPIC]["partitions"], rows[TOPIC]["cleanup.policy"]) == (1, "compact")
    assert rows[TOPIC]["max.compaction.lag.ms"] == "3600000"
