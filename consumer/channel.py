"""What is known of one subscription in one replica: what is ready to be sent, and whether anything may be sent now."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from consumer.breaker import Breaker, BreakerSettings
from consumer.outcome import judge_of

if TYPE_CHECKING:
    from consumer.delivery import Delivery
    from consumer.dispatcher import Bounds
    from consumer.flow import Flow
    from consumer.subscriptions import Subscription
    from services import RateLimit


_order = count()  # tells entries apart, since a delivery may be in a line twice


class Line:
    """Deliveries of one subscription that are ready: the one first that was taken in hand first.

    So a lane's next one, which becomes ready only when the one before it is delivered, waits for those before it in the
    log and not for all that are ready already: it would be twice as late as the others. The late ones are owed, the
    others live.
    """

    __slots__ = ("_ready", "channel", "late", "queued")

    def __init__(self, channel: Channel, *, late: bool) -> None:
        self.channel = channel
        self.late = late
        # A heap; some may have been sent, or taken back, meanwhile: their place says so.
        self._ready: list[tuple[int, int, Delivery]] = []
        self.queued = False  # whether it stands in the ring of those that may start something

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def first(self) -> Delivery:
        """The delivery whose turn it is."""
        return self._ready[0][2]

    def put(self, delivery: Delivery) -> None:
        """Take in a delivery that is ready."""
        heappush(self._ready, (delivery.ticket, next(_order), delivery))

    def pop(self) -> Delivery:
        """Take the first one out."""
        return heappop(self._ready)[2]

    def forget_gone(self) -> None:
        """Take out those of partitions that are gone."""
        self._ready = [entry for entry in self._ready if not entry[2].flow.partition.gone]
        heapify(self._ready)


class Tokens:
    """The rate that a destination allows: a bucket that fills steadily."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        self.limit = limit
        self._level = float(limit.burst)
        self._at = now
        self.share = 1.0  # of the rate, which other replicas use as well

    def take(self, now: float) -> float:
        """Take one token; returns 0, or the seconds until there is one."""
        rate = self.limit.per_second * self.share
        self._level = min(float(self.limit.burst), self._level + (now - self._at) * rate)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return max((1 - self._level) / rate, 0.001)

    @property
    def window(self) -> int:
        """How many events are worth keeping in memory: those of some seconds."""
        return max(10, int(5 * self.limit.per_second * self.share))


class Channel:
    """One subscription. It rests while its destination has asked for it, or is believed down."""

    __slots__ = (
        "asked",
        "blocking",
        "breaker",
        "delivered_at",
        "failing_since",
        "first",
        "flows",
        "gone",
        "in_flight",
        "in_hand",
        "judge",
        "last_error",
        "late",
        "limit",
        "live",
        "most",
        "off",
        "probe",
        "rests_until",
        "subscription",
        "throttled",
        "throttles",
        "tokens",
    )

    def __init__(self, subscription: Subscription, bounds: Bounds, breaker: BreakerSettings, now: float) -> None:
        self.breaker = Breaker(breaker)
        self.tokens: Tokens | None = None
        self.adopt(subscription, bounds, now)
        self.live = Line(self, late=False)
        self.late = Line(self, late=True)
        self.flows: dict[Flow, None] = {}
        self.in_flight = 0
        self.in_hand = 0
        self.throttled = False  # whether its receiver has asked it to wait, or its rate is used up
        self.asked = False  # whether it was its receiver
        self.rests_until = 0.0  # (monotonic)
        self.throttles = 0  # how often in a row it was asked
        self.probe: Delivery | None = None  # the one that tries whether the destination is back
        self.delivered_at = 0.0  # when something was delivered last (seconds since 1970)
        self.failing_since = 0.0  # when its destination was found down (seconds since 1970); 0 while it is not
        self.last_error = ""
        self.off = False  # whether nothing is sent for the time being: it is disabled, set aside or gone
        self.gone = False  # whether it was taken away: nothing further is for it, and what it is owed is kept

    def adopt(self, subscription: Subscription, bounds: Bounds, now: float) -> None:
        """Be this subscription from now on: of its service are the rate, the judge, and whether it needs threads.

        It begins with few attempts at once; with each delivery it may be one more, up to the bound. So it doubles with
        each round trip, and a destination that hangs from the start costs no more than the first.
        """
        service = subscription.service
        self.subscription = subscription
        self.blocking = service.blocking
        self.judge = judge_of(service)
        self.most = bounds.threads_per_subscription if self.blocking else bounds.in_flight_per_subscription
        self.first = min(bounds.first_in_flight, self.most)
        self.limit = self.first
        if service.rate is None:
            self.tokens = None
        elif self.tokens is None or self.tokens.limit != service.rate:
            self.tokens = Tokens(service.rate, now)

    def start_slowly(self) -> None:
        """Begin again with few attempts at once."""
        self.limit = self.first

    def touch(self) -> None:
        """Have its states written: what they say of the destination has changed."""
        for flow in self.flows:
            if flow.owed or flow.next is not None:
                flow.touch()

    def rest_no_more(self) -> None:
        """Forget that it was asked to wait: there is somebody else to ask."""
        self.throttled = self.asked = False
        self.throttles = 0

    @property
    def resting(self) -> bool:
        """Whether nothing may be sent now, probes apart."""
        return self.throttled or self.closed

    @property
    def closed(self) -> bool:
        """Whether it takes nothing for the time being: its destination is believed down, or it is off."""
        return self.breaker.open or self.off
