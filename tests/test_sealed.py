"""Sealed options: what is sealed is opened again, by whom it may be, for whom it was."""

from __future__ import annotations

import traceback
from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from consumer.sealed import Seal, SealError

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
OPTIONS = {"url": "https://a.example/t0ps3cret"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(min_size=1), st.dictionaries(st.text(), JSON))
def test_what_is_sealed_is_opened_as_it_was(id_: str, options: dict[str, Any]) -> None:
    assert Seal([NEW]).open(id_, Seal([NEW, OLD]).seal(id_, options)) == options


def test_the_first_key_seals_and_each_opens() -> None:
    before, between, after = Seal([OLD]), Seal([NEW, OLD]), Seal([NEW])
    assert between.open("a", before.seal("a", OPTIONS)) == OPTIONS
    sealed = between.seal("a", OPTIONS)
    assert after.open("a", sealed) == OPTIONS
    assert "t0ps3cret" not in sealed
    assert sealed != between.seal("a", OPTIONS)


def sealed_by_others(content: object) -> str:
    return Fernet(NEW).encrypt(orjson.dumps(content)).decode()


BY_KEY = (
    "options cannot be opened: they were changed, or sealed by a key that is not among those of SPRINTLY_OPTIONS_KEY"
)
FOR_ANOTHER = "options cannot be used: they were sealed for another subscription"
SHAPE = 'options cannot be used: what is sealed is not {"id": …, "options": {…}}'


@pytest.mark.parametrize(
    ("sealed", "sentence"),
    [
        (Seal([OTHER]).seal("a", OPTIONS), BY_KEY),
        (Seal([NEW]).seal("a", OPTIONS)[:-9] + "AAAAAAAA=", BY_KEY),
        ("", BY_KEY),
        ("not sealed at all \u00e4", BY_KEY),
        (Seal([NEW]).seal("b", OPTIONS), FOR_ANOTHER),
        (sealed_by_others([]), SHAPE),
        (sealed_by_others({"id": "a"}), SHAPE),
        (sealed_by_others({"id": 5, "options": {}}), SHAPE),
        (sealed_by_others({"id": "a", "options": []}), SHAPE),
        (sealed_by_others({"id": "a", "options": {}, "product": 2}), SHAPE),
        (Fernet(NEW).encrypt(b"t0ps3cret").decode(), SHAPE),
    ],
    ids=lambda _: "",  # the sealed texts are others in each process
)
def test_what_cannot_be_opened_is_said_and_not_shown(sealed: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Seal([NEW]).open("a", sealed)
    assert str(caught.value) == sentence
    assert "t0ps3cret" not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_json_is_not_sealed() -> None:
    with pytest.raises(SealError, match="options cannot be written as JSON"):
        Seal([NEW]).seal("a", {"n": 2**70})
