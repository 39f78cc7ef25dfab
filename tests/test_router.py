"""Routes against a filter that could not be simpler, and the bound of what is kept."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import router as module
from consumer.router import Router
from consumer.subscriptions import Subscription
from services import RecordingSession
from services.webhook import Service

SERVICE = Service({"urls": "http://a/"}, RecordingSession())
PRODUCTS = st.sampled_from([1, 2, 3])
MODELS = st.sampled_from(["Item", "Comment", "Sprint"])
ACTIONS = st.sampled_from(["created", "updated", "deleted"])
GLOBS = st.sampled_from(["*.*", "*.created", "Item.*", "Item.updated", "C*.?reated", "item.*"])


@st.composite
def subscriptions(draw: st.DrawFn) -> list[Subscription]:
    return [
        Subscription(
            id=f"s{number}",
            product=draw(st.none() | PRODUCTS),
            service=SERVICE,
            events=draw(st.none() | st.lists(GLOBS, min_size=1).map(tuple)),
            enabled=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


def naive(all_of_them: list[Subscription], product: int, model: str, action: str) -> list[str]:
    return [
        each.id
        for each in all_of_them
        if each.enabled
        and each.product in (None, product)
        and any(fnmatchcase(f"{model}.{action}", glob) for glob in each.events or ["*"])
    ]


@given(found=subscriptions(), events=st.lists(st.tuples(PRODUCTS, MODELS, ACTIONS), max_size=12))
def test_routes_are_what_a_plain_filter_finds(found: list[Subscription], events: list[tuple[int, str, str]]) -> None:
    router = Router(found)
    for event in [*events, *events]:  # the second time from what is kept
        assert [each.id for each in router.route(*event)] == naive(found, *event)


@given(found=subscriptions())
def test_every_subscription_is_found_by_its_id(found: list[Subscription]) -> None:
    router = Router(found)
    assert [router.by_id(each.id) for each in found] == found
    assert router.by_id("nobody") is None


def test_a_route_is_worked_out_once() -> None:
    router = Router([Subscription("a", 1, SERVICE)])
    assert router.route(1, "Item", "created") is router.route(1, "Item", "created")


def test_what_is_kept_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_ROUTES", 10)
    router = Router([Subscription("a", None, SERVICE)])
    for product in range(35):
        assert len(router.route(product, "Item", "created")) == 1
        assert len(router._routes) <= 10


def test_a_long_name_is_routed_but_not_kept() -> None:
    router = Router([Subscription("a", None, SERVICE)])
    assert len(router.route(1, "Item" * 1000, "created")) == 1
    assert not router._routes
