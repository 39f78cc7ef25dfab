"""What is owed and how subscriptions stand, by service: counted from memory when somebody asks, so at no cost before.

It is read by the thread that serves metrics while the loop goes on: each number is one of that moment, and two need not
be of the same. Labels are tuples, as metrics have them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from consumer.flow import ALL

if TYPE_CHECKING:
    from consumer.dispatcher import Dispatcher
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
        for service, arrears in _arrears(partition).items():
            labels = (service,)  # it may be one whose subscriptions are gone
            found.owed[labels] = found.owed.get(labels, 0) + arrears.owed
            found.behind[labels] = found.behind.get(labels, 0) + arrears.behind
            found.behind_records[labels] = found.behind_records.get(labels, 0) + arrears.records
            age = max(0.0, now - partition.calendar.written(arrears.lowest))
            found.oldest[labels] = max(age, found.oldest.get(labels, 0.0))
    return found


class Sums:
    """What the subscriptions of one service are owed of one partition."""

    __slots__ = ("behind", "lowest", "owed", "records")

    def __init__(self) -> None:
        self.owed = 0
        self.behind = 0
        self.records = 0
        self.lowest = ALL  # the offset of the oldest


def _arrears(partition: Partition) -> dict[str, Sums]:
    """Return what is owed of a partition, by service. There may be thousands of flows: it is kept short."""
    found: dict[str, Sums] = {}
    position = partition.position
    for flow in list(partition.flows.values()):
        owed, next_ = flow.owed, flow.next
        if not owed and next_ is None:
            continue
        service = flow.channel.subscription.service.name
        arrears = found.get(service)
        if arrears is None:
            arrears = found[service] = Sums()
        arrears.owed += owed
        if next_ is not None:
            arrears.behind += 1
            if next_ < position:
                arrears.records += position - next_
            if next_ < arrears.lowest:
                arrears.lowest = next_
        if owed:  # what is not owed, and lies below, is seconds old
            lowest = min(flow.hand, default=ALL)
            if lowest < arrears.lowest:
                arrears.lowest = lowest
    return found
