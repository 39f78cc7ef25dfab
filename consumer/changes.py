"""What has changed between two sets of subscriptions: those that are active and those that are to be come in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from consumer.subscriptions import Subscription


@dataclass(frozen=True)
class Changes:
    """The subscriptions that are to be, and by their ids what is different about them.

    Of who has not changed it is the very object that there was; of who has changed in another respect than its service
    and options, its service is. So identity tells what is to go on undisturbed.
    """

    subscriptions: tuple[Subscription, ...]
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def changes(active: Iterable[Subscription], wanted: Iterable[Subscription]) -> Changes:
    """Return what becomes of the active subscriptions where others are wanted; options are compared by value."""
    former = {each.id: each for each in active}
    subscriptions, added, changed = [], [], []
    for each in wanted:
        before = former.pop(each.id, None)
        now = each if before is None else _going_on(before, each)
        if before is None:
            added.append(each.id)
        elif now is not before:
            changed.append(each.id)
        subscriptions.append(now)
    return Changes(tuple(subscriptions), tuple(added), tuple(changed), tuple(former))


def _going_on(before: Subscription, now: Subscription) -> Subscription:
    """Return what a subscription is now, with as much of what it was before as is the same."""
    if type(now.service) is type(before.service) and now.service.options == before.service.options:
        now = replace(now, service=before.service)
    return before if _said(now) == _said(before) else now


def _said(each: Subscription) -> tuple[object, ...]:
    return each.product, id(each.service), each.events, each.ordered, each.enabled
