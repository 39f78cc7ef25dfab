"""The subscriptions topic: records written and read, and each kind of bad one by its exact sentence."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator

from consumer.entries import Entries, latest, read_entries, read_fields, write_entry, write_fields, write_removal
from consumer.event import Outgoing, Record
from consumer.sealed import Seal
from services import Secret, ServiceBase, ServiceOptions

TOPIC = "sprintly.subscriptions"
KEY, OTHER = (Fernet.generate_key().decode() for _ in range(2))
SEAL = Seal([KEY])
FIELDS = {"id": "acme", "product": 1, "service": "chat", "options": {"token": "t0ps3cret"}}


class Chat(ServiceBase):
    name = "chat"

    class Options(ServiceOptions):
        token: Secret
        title: str = ""

        @model_validator(mode="before")
        @classmethod
        def _break(cls, values: Any) -> Any:
            if values.get("title") == "break":
                raise RuntimeError(values["token"])
            return values

    def __init__(self, options: Any, session: Any = None) -> None:
        super().__init__(options, session)
        if self.options.title == "raise":
            raise KeyError(self.options.token.get_secret_value())


SERVICES = {"chat": Chat}


def records(*written: Outgoing) -> list[Record]:
    return [Record(w.topic, 0, n, w.key, w.value, 0) for n, w in enumerate(written)]


def read(*written: Outgoing, seal: Seal | None = SEAL) -> Entries:
    return read_entries(records(*written), seal, SERVICES)


def raw(value: bytes, key: bytes | None = b"acme") -> Outgoing:
    return Outgoing(TOPIC, key, value)


def changed(**fields: Any) -> Outgoing:
    return raw(orjson.dumps({name: value for name, value in {**FIELDS, **fields}.items() if value is not None}))


def tokens(entries: Entries) -> dict[str, str]:
    return {each.id: each.service.options.token.get_secret_value() for each in entries.subscriptions}


@pytest.mark.parametrize("seal", [None, SEAL])
def test_what_is_written_is_read(seal: Seal | None) -> None:
    fields = {**FIELDS, "product": "*", "events": ["*.created"], "order": "none", "enabled": False}
    written = write_entry(TOPIC, fields, seal)
    [found] = read(written).subscriptions
    assert (found.id, found.product, found.service.name) == ("acme", None, "chat")
    assert (found.events, found.ordered, found.enabled) == (("*.created",), False, False)
    assert found.service.options.token.get_secret_value() == "t0ps3cret"
    assert (written.topic, written.key) == (TOPIC, b"acme")
    assert (b"t0ps3cret" in (written.value or b"")) == (seal is None)


@given(st.text(), st.booleans())
def test_options_mean_themselves_whatever_they_are(text: str, sealed: bool) -> None:
    for value in (text, f"file:{text}", f"${{{text}}}", f"text:env:{text}"):
        written = write_entry(TOPIC, {**FIELDS, "options": {"token": value}}, SEAL if sealed else None)
        assert tokens(read(written)) == {"acme": value}


def test_the_last_record_of_each_counts_and_a_tombstone_removes() -> None:
    first, second = (write_entry(TOPIC, {**FIELDS, "options": {"token": token}}, None) for token in ("one", "two"))
    other = write_entry(TOPIC, {**FIELDS, "id": "a-first"}, None)
    found = read(first, other, second)
    assert list(tokens(found).items()) == [("a-first", "t0ps3cret"), ("acme", "two")]
    assert list(tokens(read(first, write_removal(TOPIC, "acme"), other))) == ["a-first"]
    assert read(write_removal(TOPIC, "acme")) == Entries()


def test_keys_are_changed_without_a_moment_in_which_somebody_cannot_read() -> None:
    before, between, after = Seal([OTHER]), Seal([KEY, OTHER]), Seal([KEY])
    old = write_entry(TOPIC, {**FIELDS, "options": {"token": "${x}"}}, before)
    assert tokens(read(old, seal=between)) == {"acme": "${x}"}
    [record] = records(old)
    new = write_fields(TOPIC, read_fields(record, between), between)
    assert tokens(read(new, seal=after)) == tokens(read(new, seal=between)) == {"acme": "${x}"}
    assert read(new, seal=before).aside


SEALED = SEAL.seal("acme", FIELDS["options"])  # type: ignore[arg-type]
BY_KEY = (
    "options cannot be opened: they were changed, or sealed by a key that is not among those of SPRINTLY_OPTIONS_KEY"
)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (raw(b""), "the record is not JSON"),
        (raw(b'{"token": t0ps3cret}'), "the record is not JSON"),
        (raw(b"\xff"), "the record is not JSON"),
        (raw(b"[" * 100_000), "the record is not JSON"),
        (raw(b"[]"), "the record is not a JSON object"),
        (raw(b"{}"), "id is not the key of its record"),
        (changed(id="other"), "id is not the key of its record"),
        (changed(id=["acme"]), "id is not the key of its record"),
        (
            changed(options={"token": "t0ps3cret", "title": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}),
            "the record is nested deeper than 20",
        ),
        (changed(options=[]), "options is not a mapping"),
        (changed(product=None), "product is missing"),
        (changed(options={"token": "t0ps3cret", "colour": "t0ps3cret"}), "option colour is not an option"),
        (changed(product="x", order="x"), 'product is neither the number of a product nor "*"; order is neither'),
        (changed(service="chatt"), "service chatt is not known; did you mean chat? (available: chat)"),
        (changed(service="x" * 9000), "service xxxxx"),
        (changed(**{f"{n:03}{'x' * 90}": n for n in range(90)}), "is not a field of a subscription"),
        (changed(**{"a\x1b[31m\nb": 1}), "a\ufffd[31m\ufffdb is not a field of a subscription"),
        (changed(version=2), "version is not a field of a subscription"),
        (
            changed(options={"token": "file:/proc/self/environ"}),
            "option token refers to a file, which only a subscriptions file may",
        ),
        (
            changed(options={"token": "a ${PATH}"}),
            "option token refers to the environment (PATH), which only a subscriptions file may",
        ),
        (
            changed(options=None, sealed=SEAL.seal("acme", {"token": "env:PATH"})),
            "option token refers to the environment (PATH), which only a subscriptions file may",
        ),
        (changed(sealed=SEALED), "it has both options and sealed ones"),
        (changed(options=None, sealed=5), "sealed is not text"),
        (changed(options=None, sealed=Seal([OTHER]).seal("acme", {})), BY_KEY),
        (
            changed(options=None, sealed=SEAL.seal("other", {"token": "t0ps3cret"})),
            "options cannot be used: they were sealed for another subscription",
        ),
        (
            changed(options={"token": "t0ps3cret", "title": "raise"}),
            "service chat cannot be made of its options: KeyError",
        ),
        (changed(options={"token": "t0ps3cret", "title": "break"}), "the record cannot be read: RuntimeError"),
    ],
)
def test_a_bad_record_is_set_aside_and_the_others_go_on(record: Outgoing, reason: str) -> None:
    found = read(write_entry(TOPIC, {**FIELDS, "id": "well"}, SEAL), record)
    assert tokens(found) == {"well": "t0ps3cret"}
    assert list(found.aside) == ["acme"]
    assert reason in found.aside["acme"]
    [problem] = found.problems
    assert problem.startswith("subscription acme: ")
    assert "t0ps3cret" not in problem
    assert len(problem) < 600


def test_without_a_key_sealed_options_are_said_to_need_one() -> None:
    found = read(changed(options=None, sealed=SEALED), seal=None)
    assert found.problems == [
        "subscription acme: options are sealed and cannot be opened: SPRINTLY_OPTIONS_KEY is not set"
    ]


def test_a_key_that_is_no_id_is_named_by_its_place() -> None:
    found = read(raw(b"{}", None), raw(orjson.dumps({**FIELDS, "id": "a b"}), b"a b"), raw(b"{}", b"\xff"))
    places = [f"subscription at {TOPIC}[0] offset {offset}" for offset in range(3)]
    assert [problem.partition(": ")[0] for problem in found.problems] == places
    assert found.subscriptions == ()
    assert list(latest(records(raw(b"{}", None)))) == [f"at {TOPIC}[0] offset 0"]


def test_what_is_no_json_is_not_written() -> None:
    for seal in (None, SEAL):
        with pytest.raises(ValueError, match="options cannot be written as JSON"):
            write_entry(TOPIC, {**FIELDS, "options": {"token": 2**70}}, seal)


def test_a_service_that_may_not_be_used_is_set_aside() -> None:
    written = [write_entry(TOPIC, each, None) for each in ({**FIELDS, "id": "one"}, {**FIELDS, "id": "two"})]

    found = read_entries(records(*written), None, SERVICES, lambda service: f"{service.name} is off")

    assert (found.subscriptions, found.aside) == ((), dict.fromkeys(("one", "two"), f"{Chat.name} is off"))
