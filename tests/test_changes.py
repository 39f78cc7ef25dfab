"""Two sets of subscriptions compared: who is the same stays the same object, whatever its options' objects are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.changes import changes
from consumer.subscriptions import Subscription, parse_subscriptions

TEXT = """
subscriptions:
  - {id: a, product: 1, service: webhook, options: {urls: https://example.com/a, secret: "${SECRET}"}}
  - {id: b, product: 2, service: slack, events: ["*.created"], options: {url: https://example.com/b}}
  - {id: c, product: "*", service: webhook, order: none, options: {urls: [https://example.com/1, https://example.com/2]}}
"""
SECRETS = ("whsec_" + "QUJD" * 8, "whsec_" + "REVG" * 8)


def read(text: str = TEXT, secret: str = SECRETS[0]) -> tuple[Subscription, ...]:
    return parse_subscriptions(text, {"SECRET": secret})


def test_what_is_read_again_unchanged_is_the_very_same() -> None:
    active = read()
    found = changes(active, read())
    assert not found
    assert all(one is other for one, other in zip(active, found.subscriptions, strict=True))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("product: 1,", "product: 3,"),
        ("example.com/a", "example.com/other"),
        ("id: a,", "id: a, order: none,"),
        ("id: a,", "id: a, enabled: false,"),
        ("id: a,", 'id: a, events: ["Item.*"],'),
    ],
)
def test_whatever_is_changed_of_one_is_noticed_and_the_others_stay(old: str, new: str) -> None:
    active = read()
    found = changes(active, read(TEXT.replace(old, new)))
    assert (found.added, found.changed, found.removed) == ((), ("a",), ())
    assert found.subscriptions[0] is not active[0]
    assert found.subscriptions[1:] == active[1:]


def test_a_secret_that_a_reference_stands_for_is_compared_too() -> None:
    found = changes(read(), read(secret=SECRETS[1]))
    assert found.changed == ("a",)


def test_the_service_is_the_same_where_only_something_else_has_changed() -> None:
    active = read()
    found = changes(active, read(TEXT.replace("product: 1,", "product: 3,")))
    assert found.subscriptions[0].service is active[0].service
    other = changes(active, read(TEXT.replace("example.com/a", "example.com/other")))
    assert other.subscriptions[0].service is not active[0].service


def test_destinations_come_and_go_each_for_itself() -> None:
    active = read()
    found = changes(active, read(TEXT.replace("example.com/2", "example.com/3")))
    (added,), (removed,) = found.added, found.removed
    assert added.startswith("c#")
    assert removed == active[3].id
    assert found.subscriptions[2] is active[2]


def test_another_service_of_the_same_options_is_a_change() -> None:
    (active, *_) = read()
    twin = type("Twin", (type(active.service),), {"__doc__": "Twin"})
    found = changes([active], [replace(active, service=twin(active.service.options, active.service.session))])
    assert found.changed == ("a",)
