"""How a replica, and what sends for it, hangs together: settings in, ready objects out."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from consumer.breaker import BreakerSettings
from consumer.cli.known import refusal, seal
from consumer.cli.wiring import ca_bundle, registry
from consumer.clock import SystemClock
from consumer.codec import Codec
from consumer.core import Core, CoreSettings
from consumer.directory import Directory
from consumer.dispatcher import Bounds
from consumer.egress import EgressPolicy
from consumer.errors import ConfigurationError
from consumer.guarded import Guard, GuardedSession
from consumer.patience import Limits
from consumer.pipeline import Pipeline, Timing, Topics
from consumer.router import Router
from consumer.settings.values import KafkaTopic
from consumer.subscriptions import available
from consumer.subscriptions_file import SubscriptionsFile
from consumer.transport import Transport
from consumer.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.attempts import Spans
    from consumer.broker import Broker
    from consumer.health import Health
    from consumer.metrics import Metrics
    from consumer.reload import Source
    from consumer.settings import Settings
    from consumer.subscriptions import Subscription
    from consumer.tracing import Tracing


def subscribed(
    settings: Settings, broker: Broker, health: Health, metrics: Metrics
) -> tuple[Source, tuple[Subscription, ...] | None]:
    """Return where subscriptions stand, and those of a file, which is read now. Raises ConfigurationError."""
    place = settings.subscriptions
    if isinstance(place, KafkaTopic):
        known = seal(settings), available(), refusal(settings)
        return Directory(broker, place.name, *known, health=health, metrics=metrics), None
    file = SubscriptionsFile(place, os.environ, available(), refusal(settings))
    return file, file.read().subscriptions


def pipeline(
    settings: Settings,
    broker: Broker,
    subscriptions: Sequence[Subscription] | None,
    health: Health,
    metrics: Metrics,
    source: Source | None = None,
    spans: Spans | None = None,
) -> Pipeline:
    """Return one replica, ready to run, for these subscriptions, or those of `source`, which it follows."""
    clock = SystemClock()
    schemas = registry(settings)
    codec = Codec(registry=schemas is not None)
    verbose = settings.log_level == "debug"
    router = Router(subscriptions or ())
    core = Core(_core_settings(settings), codec, router, clock, metrics, verbose=verbose, spans=spans)
    return Pipeline(
        core,
        broker,
        transport(settings),
        Topics(
            settings.topic,
            settings.replay_topic,
            settings.dead_letter_topic,
            settings.state_topic,
            settings.control_topic,
        ),
        workers=workers(settings),
        schemas=schemas,
        source=source,
        active=subscriptions,
        timing=_timing(settings),
        clock=clock,
        health=health,
        metrics=metrics,
    )


def tracing(settings: Settings) -> Tracing | None:
    """Return what makes spans and sends them; None where the settings want none. Raises ConfigurationError."""
    if settings.traces == "off":
        return None
    try:
        from consumer.tracing import Tracing  # its library is an extra, and takes its time to import
    except ImportError:
        raise ConfigurationError(
            "SPRINTLY_TRACES=otlp needs OpenTelemetry, which is not there: install sprintly-services[otel]"
        ) from None
    except ValueError:  # of its variables, some are read when it is imported
        raise ConfigurationError("SPRINTLY_TRACES: OpenTelemetry cannot use its own variables (OTEL_…)") from None
    return Tracing(SystemClock())


def transport(settings: Settings) -> Transport:
    """Return what sends requests, to such addresses as the settings allow."""
    return Transport(
        policy=EgressPolicy(settings.egress_allow),
        proxy=settings.egress_proxy,
        connect_timeout=settings.connect_timeout,
        attempt_timeout=settings.attempt_timeout,
        answer_limit=settings.answer_limit,
        ca_bundle=ca_bundle(settings),
    )


def workers(settings: Settings) -> Workers:
    """Return the threads for blocking services, whose sessions connect to such addresses as the settings allow."""
    return Workers(settings.threads, session=_sessions(settings))


def _sessions(settings: Settings) -> Callable[[str], GuardedSession]:
    """Return what makes the session of one attempt of a blocking service, given its delivery id."""
    return partial(
        GuardedSession,
        Guard(EgressPolicy(settings.egress_allow), proxy=settings.egress_proxy),
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.attempt_timeout,
        attempt_timeout=settings.attempt_timeout,
        answer_limit=settings.answer_limit,
        ca_bundle=ca_bundle(settings),
    )


def _core_settings(settings: Settings) -> CoreSettings:
    return CoreSettings(
        topic=settings.topic,
        dead_letter_topic=settings.dead_letter_topic,
        state_topic=settings.state_topic,
        control_topic=settings.control_topic,
        bounds=Bounds(
            in_flight=settings.max_in_flight,
            in_flight_per_subscription=settings.max_in_flight_per_subscription,
            in_hand=settings.max_in_hand,
            in_hand_per_partition=settings.max_in_hand_per_partition,
            threads=settings.threads,
            threads_per_subscription=settings.threads_per_subscription,
        ),
        breaker=BreakerSettings(
            failures=settings.breaker_failures,
            refusals=settings.breaker_refusals,
            lanes=settings.breaker_lanes,
            silence=settings.breaker_silence,
            first_probe=settings.probe_pause,
            longest_pause=settings.probe_longest_pause,
        ),
        limits=Limits(
            hold=settings.watermark_hold,
            owed=settings.max_owed,
            followers=settings.max_followers,
            attempt=settings.attempt_timeout,
        ),
        retry_delays=settings.retry_delays,
        catch_up=settings.catch_up,
        max_buffered=settings.max_buffered,
        quick_attempts=settings.quick_attempts,
        quick_window=settings.quick_window,
        cycle_bytes=settings.cycle_bytes,
        poison_limit=settings.poison_limit,
    )


def _timing(settings: Settings) -> Timing:
    return Timing(
        cycle_interval=settings.cycle_interval,
        cycle_stall=settings.cycle_stall,
        revoke_timeout=settings.revoke_timeout,
        drain_timeout=settings.drain_timeout,
        retry_span=sum(settings.retry_delays),
    )
