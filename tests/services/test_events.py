"""Which events a service says it listens to."""

from __future__ import annotations

from typing import Any

import pytest

from services import ServiceBase, is_glob, listen_to, matches


@pytest.mark.parametrize(
    ("glob", "model", "action", "expected"),
    [
        ("Item.created", "Item", "created", True),
        ("Item.created", "Item", "updated", False),
        ("*.created", "Deploy", "created", True),
        ("*.created", "Deploy", "deleted", False),
        ("Item.*", "Item", "archived", True),
        ("Item.*", "ItemList", "created", False),
        ("I*.?reated", "Item", "created", True),
        ("[IC]*.created", "Comment", "created", True),
        ("[!I]*.created", "Item", "created", False),
        ("item.created", "Item", "created", False),
        ("*.*", "Beta.Item", "created", True),
        ("Beta.Item", "Beta.Item", "created", False),
    ],
)
def test_a_glob_fits_a_model_and_an_action(glob: str, model: str, action: str, expected: bool) -> None:
    assert matches([glob], model, action) is expected


@pytest.mark.parametrize(
    "text",
    ["", "*", ".", "Item.", ".created", "Item.created.", "Item created", "[Item.created", "Item.[]", "Item.cre ated"],
)
def test_what_is_no_glob_is_refused(text: str) -> None:
    assert not is_glob(text)
    with pytest.raises(ValueError, match=r"is not a Model\.action glob"):
        listen_to(text)


def test_listening_to_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        listen_to()


def test_a_service_listens_to_everything_unless_it_says_otherwise() -> None:
    class Open(ServiceBase):
        def send(self, payload: dict[str, Any]) -> None:
            pass

    class Choosy(ServiceBase):
        @listen_to("*.created", "Item.updated")
        def send(self, payload: dict[str, Any]) -> None:
            pass

    class Heir(Choosy):
        pass

    assert Open.events == ("*.*",)
    assert Choosy.events == Heir.events == ("*.created", "Item.updated")
