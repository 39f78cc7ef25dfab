"""What is owed and how subscriptions stand, by service: counted from memory when somebody asks, so at no cost before.

It is read by the thread that serves metrics while the loop goes on: each number is one of that moment, and two need not
be of the same. Labels are tuples, as metrics have them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from consumer.dispatcher import Dispatcher
    from consumer.flow import Flow
    from consumer.partition import Partition
    from consumer.subscriptions import Subscription

STATES = ("closed", "open", "probing", "disabled")

Labels: TypeAlias = tuple[str, ...]


class Tally(NamedTuple):
    """Sums by service, and subscriptions by service and state; ages are in seconds."""

    owed: dict[Labels, int]
    behind: dict[Labels, int]  # pairs of subscription and partition
    behind_records: dict[Labels, int]
    oldest: dict[Labels, float]
    breakers: dict[Labels, int]


def tally(
    partitions: Iterable[Partition], subscriptions: Iterable[Subscription], dispatcher: Dispatcher, now: float
) -> Tally:
    """Count what is owed now (seconds since 1970); a service of which nothing is has zeros."""
    subscriptions = list(subscriptions)
    services = dict.fromkeys((subscription.service.name,) for subscription in subscriptions)
    found = Tally(
        dict.fromkeys(services, 0),
        dict.fromkeys(services, 0),
        dict.fromkeys(services, 0),
        dict.fromkeys(services, 0.0),
        {(*service, state): 0 for service in services for state in STATES},
    )
    for subscription in subscriptions:
        found.breakers[subscription.service.name, dispatcher.standing(subscription.id)] += 1
    for partition in partitions:
        for flow in list(partition.flows.values()):
            if flow.owed or flow.next is not None:
                _count(found, flow, now)
    return found


def _count(found: Tally, flow: Flow, now: float) -> None:
    service = (flow.channel.subscription.service.name,)
    next_, hand = flow.next, flow.hand
    lowest = min(hand, default=None) if flow.owed else None  # what is not owed there is seconds old
    _add(found.owed, service, flow.owed)
    if next_ is not None:
        _add(found.behind, service, 1)
        _add(found.behind_records, service, max(0, flow.partition.position - next_))
        lowest = next_ if lowest is None else min(lowest, next_)
    if lowest is not None:
        age = max(0.0, now - flow.partition.calendar.written(lowest))
        found.oldest[service] = max(age, found.oldest.get(service, 0.0))


def _add(sums: dict[Labels, int], service: Labels, number: int) -> None:
    sums[service] = sums.get(service, 0) + number  # it may be one whose subscriptions are gone
