"""The changeover: other subscriptions come in while a replica runs; what is known of each goes on with what it is now.

Who is unchanged notices nothing. Of who has changed, what is in hand stays, and is attempted as its subscription is
now. What is owed to who is gone is kept: once that is durable it leaves memory, as if a take-over had found it, and
waits for the day when the subscription comes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from consumer.delivery import Place

if TYPE_CHECKING:
    from consumer.channel import Channel
    from consumer.dispatcher import Dispatcher
    from consumer.flow import Flow
    from consumer.notices import Notices
    from consumer.partition import Partition
    from consumer.reading import Reading


class Changeover:
    """Carries changes of the subscriptions out."""

    def __init__(self, dispatcher: Dispatcher, reading: Reading, notices: Notices) -> None:
        """Hold what `dispatcher` knows against what `reading` routes by."""
        self._dispatcher = dispatcher
        self._reading = reading
        self._notices = notices
        self._gone: dict[Channel, None] = {}  # those that somebody still has in hand, or that are not durable yet

    def carry_out(self) -> None:
        """Go on with the subscriptions by which events are routed from now on."""
        for channel in list(self._dispatcher.channels.values()):
            subscription = self._reading.subscription(channel.subscription.id)
            if subscription is None:
                self._gone[channel] = None
                self._dispatcher.remove(channel)
            elif channel.gone or subscription is not channel.subscription:
                self._gone.pop(channel, None)
                self._dispatcher.become(channel, subscription)

    def set_aside(self, partitions: Iterable[Partition], ids: frozenset[str]) -> None:
        """Let these subscriptions wait, and no others.

        From here on they read later: that is written down, so that a restart without them passes nothing over.
        """
        mine = [partition for partition in partitions if partition.begun and not partition.draining]
        for id_ in self._dispatcher.set_aside(ids):
            subscription = self._reading.subscription(id_)
            if subscription is not None:
                for flow in [self._dispatcher.flow(partition, subscription) for partition in mine]:
                    if flow.next is None:
                        flow.fall_behind(flow.partition.position)

    def retire(self) -> None:
        """Let those who are gone leave memory, partition by partition, where nothing of them is under way."""
        for channel in list(self._gone):
            for flow in [flow for flow in channel.flows if _is_at_rest(flow)]:
                self._retire(flow)
            if not channel.flows and not channel.in_flight:
                del self._gone[channel]
                self._dispatcher.dismantle(channel)

    def _retire(self, flow: Flow) -> None:
        partition, id_ = flow.partition, flow.channel.subscription.id
        if flow.owed or flow.next is not None:
            partition.orphans[id_] = flow.state(partition.topic_id)
            self._notices.add("warning", "owed to a subscription that is gone", subscription=id_)
        self._dispatcher.retire(flow)


def _is_at_rest(flow: Flow) -> bool:
    """Whether all that a flow is owed is durable, and nothing of it ends just now."""
    written = flow.version == flow.durable and flow not in flow.partition.dirty and not flow.uncovered
    ending = any(delivery.place in (Place.FLYING, Place.ENDING) for delivery in flow.hand.values())
    return written and not ending and flow.floor is None and not flow.partition.draining
