"""Attempts at deliveries: what is ready goes out as requests, and each answer decides what becomes of its delivery.

Delivered, tried again soon, owed and tried again later, or a dead letter. What the answers say of the destination as a
whole is the breaker's business, which is told of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from consumer.channel import Channel
from consumer.codec import Undecodable
from consumer.cycle import Letter, Outbox
from consumer.deadletter import DeadLetter, Stage
from consumer.delivery import Delivery, delivery_id
from consumer.outcome import Outcome, Verdict, judge_of, outcome_of
from consumer.render import Rendered, RenderError, render, request_for
from consumer.retry import Delays, Doubling, QuickRetries

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.dispatcher import Dispatcher
    from consumer.event import Record
    from consumer.flow import Flow
    from consumer.metrics import Metrics
    from consumer.notices import Notices
    from consumer.story import Story
    from consumer.tracecontext import TraceContext
    from consumer.wire import Answer, Request

THROTTLE = (1.0, 60.0)  # seconds: the first and the longest rest of a subscription that is told no time


class Attempt(NamedTuple):
    """A request to send; its answer belongs to the delivery. Without one, the service is blocking, and sends itself.

    `trace` is the one that the attempt belongs to; a request names it already.
    """

    delivery: Delivery
    request: Request | None
    trace: TraceContext | None = None


class Spans(Protocol):
    """What makes a span of each attempt."""

    def begun(self, delivery: Delivery, rendered: Rendered | None) -> TraceContext | None:
        """Take in that an attempt begins, by a request or on a thread; returns where in its trace the receiver is."""

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take in how it ended."""


class Attempts:
    """Begins attempts, and judges how they end."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        outbox: Outbox,
        retries: QuickRetries,
        delays: Delays,
        *,
        clock: Clock,
        metrics: Metrics,
        notices: Notices,
        story: Story,
        spans: Spans | None,
        gone: Callable[[Channel, str], None],
    ) -> None:
        """Begin what `dispatcher` chooses; `gone` is told of a destination that wants nothing further, and why.

        Without `spans`, attempts belong to the trace that their record names as it stands there.
        """
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._retries = retries
        self._delays = delays
        self._throttle = Doubling(*THROTTLE)
        self._clock = clock
        self._metrics = metrics
        self._notices = notices
        self._story = story
        self._verbose = story.verbose
        self._spans = spans
        self._gone = gone

    def begin(self) -> Iterator[Attempt]:
        """Yield the requests to send now; the answer to each is to be brought back by `answered`."""
        for delivery in self._dispatcher.take():
            attempt = self._attempt(delivery)
            if attempt is not None:
                yield attempt

    def answered(self, delivery: Delivery, answer: Answer) -> None:
        """Take in how an attempt ended."""
        channel, service = delivery.flow.channel, delivery.by.service
        former = service is not channel.subscription.service  # then it says nothing of what is there now
        judge = judge_of(service) if former else channel.judge
        outcome = outcome_of(answer, self._clock.time(), judge, service.redact)
        self._metrics.attempts.add(service.name, outcome.verdict.value)
        self._metrics.attempt_seconds.observe(service.name, answer.seconds)
        if self._spans is not None:
            self._spans.ended(delivery, outcome)
        if delivery.flow.partition.gone:
            self._dispatcher.end_without_effect(delivery)
            return
        if self._verbose:
            self._story.answered(delivery, outcome, answer.seconds)
        if outcome.verdict is Verdict.DELIVERED:
            self._step_done(delivery, former=former)
        elif former:
            self._dispatcher.attempt_anew(delivery)
        else:
            self._failed(delivery, outcome)

    def _attempt(self, delivery: Delivery) -> Attempt | None:
        if delivery.by is not delivery.flow.channel.subscription and not self._is_wanted_still(delivery):
            return None
        if delivery.first_attempt == 0.0:
            delivery.first_attempt = self._clock.time()
        event = delivery.event
        assert event is not None
        rendered: Rendered | None = None
        if not delivery.flow.channel.blocking:
            if delivery.requests is None and not self._render(delivery):
                return None
            assert delivery.requests is not None
            rendered = delivery.requests[delivery.step]
        trace = event.trace if self._spans is None else self._spans.begun(delivery, rendered)
        if self._verbose:
            self._story.begun(delivery, trace)
        if rendered is None:
            return Attempt(delivery, None, trace)
        return Attempt(delivery, request_for(rendered, delivery.id, int(self._clock.time()), trace), trace)

    def _is_wanted_still(self, delivery: Delivery) -> bool:
        """Whether a subscription that has changed meanwhile wants it still, as it is now; if not, it is finished.

        What an operator replays was asked for, and is delivered.
        """
        former, delivery.by = delivery.by, delivery.flow.channel.subscription
        event = delivery.event
        assert event is not None
        if event.origin is event.record and not delivery.by.concerns(event.product, event.model, event.action):
            self._metrics.deliveries.add(delivery.by.service.name, "skipped")
            self._dispatcher.dismiss(delivery)
            return False
        if former.service is not delivery.by.service:
            delivery.begin_anew()
        return True

    def _render(self, delivery: Delivery) -> bool:
        """Ask the service for its requests; False if there are none, or the service failed."""
        assert delivery.event is not None
        try:
            delivery.requests = render(delivery.flow.channel.subscription.service, delivery.event, delivery.id)
        except RenderError as error:
            self._give_up(delivery, Stage.RENDER, "failed", Outcome(Verdict.PERMANENT, str(error)))
            return False
        if not delivery.requests:
            if self._verbose:
                self._story.skipped(delivery)
            self._delivered(delivery, "skipped")
        return bool(delivery.requests)

    def _step_done(self, delivery: Delivery, *, former: bool) -> None:
        delivery.step += 1
        if delivery.requests is not None and delivery.step < len(delivery.requests):
            self._dispatcher.proceed(delivery)
            return
        now, channel = self._clock.time(), delivery.flow.channel
        assert delivery.event is not None
        self._metrics.delivery_seconds.observe(
            channel.subscription.service.name, now - delivery.event.origin.timestamp / 1000
        )
        if not former:
            channel.delivered_at = now
            if channel.breaker.succeeded() or channel.failing_since:  # it may be down since another owner's time
                self._reopened(channel)
        if delivery.attempts or delivery.error or delivery.replays:
            self._story.at_last(delivery)
        self._delivered(delivery, "delivered")

    def _delivered(self, delivery: Delivery, outcome: str) -> None:
        self._metrics.deliveries.add(delivery.flow.channel.subscription.service.name, outcome)
        self._dispatcher.delivered(delivery)

    def _finished(self, delivery: Delivery, outcome: str) -> None:
        self._metrics.deliveries.add(delivery.flow.channel.subscription.service.name, outcome)
        self._dispatcher.settle(delivery)

    # -- failures

    def _failed(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.status, delivery.error = outcome.status, outcome.error
        now, channel = self._clock.monotonic(), delivery.flow.channel
        probed = channel.probe is delivery
        if probed:
            channel.probe = None
        if outcome.verdict is Verdict.THROTTLED:
            self._throttled(delivery, outcome, now, probed=probed)
        elif outcome.verdict is Verdict.GONE:
            self._story.owed(delivery, outcome)
            self._dispatcher.owe(delivery)  # for the day when somebody enables it again
            self._gone(channel, outcome.error)
        elif outcome.verdict is Verdict.BROKEN:
            self._give_up(delivery, Stage.RENDER, "failed", outcome)
        elif self._is_down(delivery, outcome, now, probed=probed):
            self._story.owed(delivery, outcome)
            self._dispatcher.owe(delivery)  # with its attempts as they were: an outage uses up none
        else:
            self._used_up(delivery, outcome)

    def _throttled(self, delivery: Delivery, outcome: Outcome, now: float, *, probed: bool) -> None:
        channel = delivery.flow.channel
        wait = self._throttle.after(channel.throttles + (not channel.asked)) if outcome.wait is None else outcome.wait
        if probed:  # it is there, but says nothing of how it does: asked again when it wants to be
            channel.breaker.probe_at = now + wait
        self._story.waits(delivery, outcome, wait)
        self._dispatcher.throttle(delivery, now + wait)

    def _is_down(self, delivery: Delivery, outcome: Outcome, now: float, *, probed: bool) -> bool:
        """Tell the breaker, and return whether the destination is believed down."""
        channel = delivery.flow.channel
        breaker, refused = channel.breaker, outcome.verdict is Verdict.PERMANENT
        was_open = breaker.open
        lane = delivery.offset if delivery.lane is None else delivery.lane
        if breaker.failed(now, lane, refused=refused):
            self.opened(channel, outcome)
        if was_open:
            channel.last_error = outcome.error
        if probed:
            breaker.probe_failed(now)
        return breaker.open

    def _used_up(self, delivery: Delivery, outcome: Outcome) -> None:
        """Count an attempt: there is another soon, or later, or none."""
        delivery.attempts += 1
        if outcome.verdict is Verdict.PERMANENT:
            self._give_up(delivery, Stage.DELIVER, "permanent", outcome)
            return
        wall = self._clock.time()
        pause = None if delivery.delays else self._retries.pause(delivery.attempts, wall - delivery.first_attempt)
        if pause is not None:
            self._story.failed(delivery, outcome, pause)
            self._dispatcher.retry(delivery, self._clock.monotonic() + pause)
            return
        due = self._delays.due(delivery.delays, wall)
        if due is None:
            self._give_up(delivery, Stage.DELIVER, "exhausted", outcome)
            return
        delivery.delays += 1
        delivery.due = due
        delivery.flow.touch()
        self._story.owed(delivery, outcome, due)
        self._dispatcher.owe(delivery)

    def opened(self, channel: Channel, outcome: Outcome) -> None:
        """Owe everything to a subscription whose breaker has opened."""
        subscription = channel.subscription
        channel.failing_since = channel.failing_since or self._clock.time()
        channel.last_error = outcome.error
        self._dispatcher.shut(channel)
        channel.touch()
        self._notices.add(
            "warning",
            "a destination is believed down: what is for it is owed until it answers again",
            subscription=subscription.id,
            service=subscription.service.name,
            error=channel.last_error,
        )

    def _reopened(self, channel: Channel) -> None:
        self._notices.add(
            "info",
            "a destination is back",
            subscription=channel.subscription.id,
            down=round(self._clock.time() - channel.failing_since),
        )
        channel.failing_since, channel.last_error, channel.probe = 0.0, "", None
        channel.touch()
        self._dispatcher.resume(channel)

    def _give_up(self, delivery: Delivery, stage: Stage, reason: str, outcome: Outcome) -> None:
        self._dispatcher.give_up(delivery)
        subscription = delivery.flow.channel.subscription
        event, now = delivery.event, self._clock.time()
        assert event is not None
        letter = DeadLetter(
            id=delivery.id,
            origin=event.origin,
            stage=stage,
            reason=reason,
            error=outcome.error,
            subscription=subscription.id,
            service=subscription.service.name,
            product=event.product,
            model=event.model,
            action=event.action,
            status=outcome.status,
            attempts=delivery.attempts,
            first_attempt_at=delivery.first_attempt if delivery.attempts else 0.0,
            last_attempt_at=now if delivery.attempts else 0.0,
            replays=delivery.replays,
        )
        self._outbox.post(Letter(delivery.flow.partition, letter, delivery=delivery))

    # -- what turns out when the log is read again

    def unmatched(self, delivery: Delivery) -> None:
        """Finish what its subscription does not want any more."""
        self._finished(delivery, "skipped")

    def unreadable(self, delivery: Delivery, record: Record, why: Undecodable, entry: DeadLetter | None) -> None:
        """Give up an owed delivery whose record nobody can read."""
        subscription = delivery.flow.channel.subscription.id
        letter = entry or DeadLetter(delivery_id(record, subscription), record, Stage.DECODE, "", "", subscription)
        letter = replace(letter, stage=Stage.DECODE, reason="poison", error=why.reason)
        self._dispatcher.give_up(delivery)
        self._outbox.post(Letter(delivery.flow.partition, letter, delivery=delivery))

    def concluded(self, delivery: Delivery) -> None:
        """Make a dead letter of what was only waiting for its body."""
        errors = {"expired": "it was about to leave the log without having been delivered"}
        error = delivery.error or errors.get(delivery.verdict, "it failed while others were delivered")
        self._give_up(delivery, Stage.DELIVER, delivery.verdict, Outcome(Verdict.PERMANENT, error, delivery.status))

    def vanished(self, flow: Flow, offsets: int) -> None:
        """Report what had left the log before it was delivered."""
        service = flow.channel.subscription.service.name
        self._metrics.expired.add(service, n=offsets)
        self._notices.add_up(
            "error",
            "what was owed is not in the log any more",
            "offsets",
            offsets,
            subscription=flow.channel.subscription.id,
            partition=str(flow.partition.tp),
        )
