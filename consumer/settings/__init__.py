"""The settings: variables and a TOML file come in, one frozen `Settings` or a sentence for each mistake goes out.

The environment is read once, by the command line, and handed to `Settings.load`; nothing else looks at it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.egress import Network
from consumer.errors import ConfigurationError
from consumer.poison import LIMIT
from consumer.retry import RETRY_DELAYS
from consumer.settings.properties import CLASSIC_ONLY, Scalar, read_properties, write_properties
from consumer.settings.values import (
    Address,
    KafkaTopic,
    Keys,
    ServerUrl,
    read_bundle,
    read_choice,
    read_count,
    read_duration,
    read_durations,
    read_keys,
    read_limit,
    read_listener,
    read_names,
    read_networks,
    read_proxy,
    read_registry,
    read_servers,
    read_size,
    read_subscriptions,
    read_text,
    read_topic,
    without_credentials,
    write_duration,
    write_durations,
    write_keys,
    write_limit,
    write_listener,
    write_names,
    write_networks,
    write_path,
    write_server,
    write_size,
)
from consumer.topics import CONTROL, DEAD_LETTERS, REPLAYS, STATES

PREFIX = "SPRINTLY_"
EXEMPT = ("SPRINTLY_TEST_", "SPRINTLY_REQUIRE_")  # these steer the project's own tests

_SMALLEST_CYCLE = 2_000_000  # one dead letter holds a whole record: 1 MiB by Kafka's default, and its headers
_LARGEST_HAND = 10_000  # deliveries; a state takes some 50 bytes for each, and Kafka 1 MiB for a record by default
_SHORTEST_TRANSACTION = 1.0  # librdkafka refuses a transaction.timeout.ms below 1000 …
_LONGEST_TRANSACTION = 900.0  # … and a broker, by default, one above its transaction.max.timeout.ms
_SECRET = ("kafka", "schema_registry_url", "egress_proxy", "options_key")  # no sentence repeats their values
_SHOWN = 100  # characters of a wrong value, in the sentence about it


@dataclass(frozen=True)
class _Written:
    """How a field's value becomes text again."""

    text: Callable[[Any], str]


Text: TypeAlias = Annotated[str, PlainValidator(read_text)]
Servers: TypeAlias = Annotated[str, PlainValidator(read_servers)]
Topic: TypeAlias = Annotated[str, PlainValidator(read_topic)]
FileOrTopic: TypeAlias = Annotated[Path | KafkaTopic, PlainValidator(read_subscriptions)]
OptionsKey: TypeAlias = Annotated[Keys, PlainValidator(read_keys), _Written(write_keys)]
Bundle: TypeAlias = Annotated[Path | None, PlainValidator(read_bundle), _Written(write_path)]
Count: TypeAlias = Annotated[int, PlainValidator(read_count)]
Limit: TypeAlias = Annotated[int | None, PlainValidator(read_limit), _Written(write_limit)]
Duration: TypeAlias = Annotated[float, PlainValidator(read_duration), _Written(write_duration)]
Durations: TypeAlias = Annotated[tuple[float, ...], PlainValidator(read_durations), _Written(write_durations)]
Size: TypeAlias = Annotated[int, PlainValidator(read_size), _Written(write_size)]
Listener: TypeAlias = Annotated[Address | None, PlainValidator(read_listener), _Written(write_listener)]
Networks: TypeAlias = Annotated[tuple[Network, ...], PlainValidator(read_networks), _Written(write_networks)]
Names: TypeAlias = Annotated[frozenset[str], PlainValidator(read_names), _Written(write_names)]
Registry: TypeAlias = Annotated[ServerUrl | None, PlainValidator(read_registry), _Written(write_server)]
Proxy: TypeAlias = Annotated[ServerUrl | None, PlainValidator(read_proxy), _Written(write_server)]
Properties: TypeAlias = Annotated[Mapping[str, Scalar], PlainValidator(read_properties), _Written(write_properties)]
GroupProtocol: TypeAlias = Annotated[Literal["auto", "consumer", "classic"], BeforeValidator(read_choice)]
LogFormat: TypeAlias = Annotated[Literal["json", "console", "auto"], BeforeValidator(read_choice)]
Traces: TypeAlias = Annotated[Literal["off", "otlp"], BeforeValidator(read_choice)]
LogLevel: TypeAlias = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(read_choice)]


class Described(NamedTuple):
    """One setting for people: its variable, its value and default as text (secrets masked), what it is for."""

    variable: str
    value: str
    default: str
    description: str

    @property
    def is_default(self) -> bool:
        """Whether the value is what it would be if nobody had set it."""
        return self.value == self.default


class Settings(BaseSettings):
    """All settings of one process; durations are in seconds, sizes in bytes. What is not given has its default."""

    # Defaults stand here as what they mean, not as text: they are not read again.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    bootstrap_servers: Servers = Field(
        default="localhost:9092", description="Kafka's addresses, `host:port`, separated by commas."
    )
    group_id: Text = Field(
        default="sprintly-services", description="The consumer group: replicas of one group share the work."
    )
    topic: Topic = Field(
        default="sprintly.events",
        description="The topic with the events. Four more are named after it: `.dlq` has the dead letters,"
        " `.state` who is owed what, `.control` the operators' words, `.replay` what is being replayed.",
    )
    subscriptions: FileOrTopic = Field(
        default=Path("subscriptions.yaml"),
        description="Which product has enabled which service: a YAML file, or `kafka:TOPIC` for a compacted topic.",
    )
    options_key: OptionsKey = Field(
        default=Keys(),
        repr=False,
        description="Fernet keys, separated by commas, for the options in that topic: the first seals, each opens.",
    )
    schema_registry_url: Registry = Field(
        default=None,
        repr=False,
        description="The address of a Confluent-compatible schema registry, `user:password@` before its host if it"
        " asks for them. Without one, only the bundled schemas are known.",
    )
    http: Listener = Field(
        default=Address("0.0.0.0", 9464),
        description="Where metrics and health are served, `host:port`; port 0 picks one, `off` serves none.",
    )
    egress_allow: Networks = Field(
        default=(), description="CIDRs that pings may go to beside public addresses, separated by commas."
    )
    egress_proxy: Proxy = Field(
        default=None,
        repr=False,
        description="An HTTP proxy that all pings go through, `user:password@` before its host if it asks for them."
        " What names resolve to is then for the proxy to judge.",
    )
    egress_unguarded: Names = Field(
        default=frozenset(),
        description="Services that may be used although the rules about addresses cannot hold for all that they do"
        " (`apprise`), separated by commas.",
    )
    ca_bundle: Bundle = Field(
        default=None,
        description="A PEM file with the authorities to trust in place of the bundled ones; where it is not set, the"
        " one that `SSL_CERT_FILE` names.",
    )
    connect_timeout: Duration = Field(default=5.0, description="The longest that connecting to a destination may take.")
    attempt_timeout: Duration = Field(
        default=15.0, description="The longest that one attempt may take, connecting included."
    )
    answer_limit: Size = Field(
        default=64 * 2**10, description="How much of a destination's answer is read; the rest is cut off."
    )
    max_in_flight: Count = Field(
        default=4096, description="Attempts in flight at once, those of all subscriptions together."
    )
    max_in_flight_per_subscription: Count = Field(
        default=1024,
        description="Attempts in flight at once of one subscription: at first 64, and one more with each delivery.",
    )
    max_buffered: Size = Field(
        default=64 * 2**20, description="Events held in memory; when they are more, partitions are paused."
    )
    max_in_hand: Count = Field(default=4096, description="Unfinished deliveries that one subscription takes in hand.")
    max_in_hand_per_partition: Count = Field(
        default=1000, description="Unfinished deliveries that one subscription takes in hand from one partition."
    )
    quick_attempts: Count = Field(
        default=3, description="Attempts at a delivery that follow each other at once, before it is set aside."
    )
    quick_window: Duration = Field(
        default=5.0, description="How long after the first attempt a quick one may still begin."
    )
    retry_delays: Durations = Field(
        default=RETRY_DELAYS,
        description="How long what failed in its quick attempts is owed before each further one; due times are"
        " rounded up to 5s. After the last it is a dead letter.",
    )
    watermark_hold: Duration = Field(
        default=5.0,
        description="The longest that an unfinished delivery holds its partition's committed offset; then it is owed.",
    )
    max_owed: Count = Field(
        default=200_000,
        description="Deliveries that a replica is owed one by one; with more, subscriptions fall behind instead.",
    )
    max_followers: Count = Field(
        default=250,
        description="Events of one key that wait behind a failing one while others are delivered; with more, it"
        " becomes a dead letter.",
    )
    catch_up: Count = Field(
        default=500,
        description="Unfinished deliveries in a partition with which a subscription that is behind still reads on.",
    )
    breaker_failures: Count = Field(
        default=10, description="Failures in a row after which a destination is believed down."
    )
    breaker_refusals: Count = Field(
        default=20, description="Permanent answers in a row after which a destination is believed down."
    )
    breaker_lanes: Count = Field(
        default=3, description="Record keys over which either must have come: one bad item is no outage."
    )
    breaker_silence: Duration = Field(
        default=600.0, description="How long attempts may deliver nothing before a destination is believed down."
    )
    probe_pause: Duration = Field(
        default=5.0, description="How long after that it is probed first; each further pause is twice as long."
    )
    probe_longest_pause: Duration = Field(default=300.0, description="The longest pause between two probes.")
    threads: Count = Field(default=16, description="Threads that send for services which are blocking.")
    threads_per_subscription: Count = Field(
        default=2, description="Threads that one subscription of such a service may use at once."
    )
    cycle_interval: Duration = Field(
        default=1.0, description="How often outcomes are made durable, each time in one transaction."
    )
    cycle_stall: Duration = Field(
        default=3.0,
        description="Without a durable cycle for so long, nothing is taken in, no attempt starts and the replica is"
        " unready.",
    )
    cycle_bytes: Size = Field(
        default=8_000_000, description="How much one cycle writes at most; the rest waits for the next one."
    )
    transaction_timeout: Duration = Field(
        default=10.0,
        description="After so long the broker aborts the transaction of a replica that has gone silent (1s to 15m).",
    )
    poison_limit: Limit = Field(
        default=LIMIT,
        description="Records in a row that nobody can read, or as many of the last ten times so many, with which no"
        " more events are taken in and the replica is unready; `off` goes on whatever comes.",
    )
    revoke_timeout: Duration = Field(
        default=5.0,
        description="How long attempts in flight may go on when their partition moves to another replica.",
    )
    drain_timeout: Duration = Field(
        default=25.0, description="How long attempts in flight may go on after SIGTERM, before the process ends."
    )
    kafka: Properties = Field(
        default_factory=lambda: read_properties({}),
        repr=False,
        description="librdkafka properties as a JSON object, for TLS, SASL, OAuth and the like; their values are"
        " secret. A property that would break a guarantee is refused.",
    )
    group_protocol: GroupProtocol = Field(
        default="auto",
        description="How replicas share partitions: `consumer` (Kafka 4.0 and later), `classic`, or `auto`: the"
        " newest that the broker has.",
    )
    log_format: LogFormat = Field(
        default="auto", description="`json`, `console` for people, or `auto`: console on a terminal, else JSON."
    )
    log_level: LogLevel = Field(
        default="info", description="The least level that is logged: `debug`, `info`, `warning` or `error`."
    )
    traces: Traces = Field(
        default="off",
        description="Whether a span of each attempt is sent by OpenTelemetry: `otlp` or `off`. Where to, its own"
        " variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`); the extra `otel` has to be installed.",
    )

    @classmethod
    def load(cls, environ: Mapping[str, str], config: Path | None = None) -> Settings:
        """Return the settings from variables and, where these say nothing, from a TOML file with fields as keys.

        Raises ConfigurationError with one sentence for each thing that is wrong, naming its variable, and the file
        if it stands there.
        """
        in_file = _read(config, cls.model_fields) if config else {}
        in_environ = {name: environ[variable(name)] for name in cls.model_fields if variable(name) in environ}
        origin = {name: f" ({name} in {config})" for name in in_file.keys() - in_environ.keys()}
        given = {**in_file, **in_environ}
        try:
            return cls(**given)
        except ValidationError as error:
            problems = list(_problems(error, given, origin))
        raise ConfigurationError(*problems)  # outside, so that no value hangs on it as the error's context

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out the process's own environment: what `load` hands over is all there is."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if contradictions := [*_too_large(self), *_out_of_range(self), *_classic_only(self), *_taken(self)]:
            raise ValueError("\n".join(contradictions))
        return self

    @property
    def dead_letter_topic(self) -> str:
        """The topic with what failed for good."""
        return self.topic + DEAD_LETTERS

    @property
    def state_topic(self) -> str:
        """The topic that says who is owed what."""
        return self.topic + STATES

    @property
    def control_topic(self) -> str:
        """The topic with what operators and replicas say of subscriptions."""
        return self.topic + CONTROL

    @property
    def replay_topic(self) -> str:
        """The topic with dead letters on their way back."""
        return self.topic + REPLAYS

    def describe(self) -> list[Described]:
        """Return every setting in the order of this class, for the documentation and for showing what holds."""
        return [
            Described(
                variable=variable(name),
                value=_written(name, getattr(self, name)),
                default=_written(name, field.get_default(call_default_factory=True, validated_data={})),
                description=field.description or "",
            )
            for name, field in type(self).model_fields.items()
        ]


# Of each pair, the first may not be more than the second.
_NOT_ABOVE = (
    ("connect_timeout", "attempt_timeout"),
    ("max_in_flight_per_subscription", "max_in_flight"),
    ("max_in_hand_per_partition", "max_in_hand"),
    ("revoke_timeout", "drain_timeout"),
    ("catch_up", "max_in_hand_per_partition"),
    ("probe_pause", "probe_longest_pause"),
    ("threads_per_subscription", "threads"),
)


def variable(name: str) -> str:
    """Return the environment variable that sets a field: SPRINTLY_TOPIC for topic."""
    return PREFIX + name.upper()


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each SPRINTLY_ variable that is no setting, with the one that was probably meant."""
    known = {variable(name) for name in Settings.model_fields}
    given = sorted(name for name in environ if name.startswith(PREFIX) and not name.startswith(EXEMPT))
    return [f"{name} is not a setting{_meant(name, known)}" for name in given if name not in known]


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return f": did you mean {close[0]}?" if close else ""


def _too_large(settings: Settings) -> Iterator[str]:
    for small, large in _NOT_ABOVE:
        value, limit = getattr(settings, small), getattr(settings, large)
        if value > limit:
            shown = f"{_written(small, value)} is more than {variable(large)} ({_written(large, limit)})"
            yield f"{variable(small)}: {shown}"


def _out_of_range(settings: Settings) -> Iterator[str]:
    if settings.max_in_hand_per_partition > _LARGEST_HAND:
        place = variable("max_in_hand_per_partition")
        yield f"{place}: must be at most {_LARGEST_HAND}, since what is owed of a partition has to fit into one record"
    if settings.cycle_stall <= settings.cycle_interval:
        interval = f"{variable('cycle_interval')} ({write_duration(settings.cycle_interval)})"
        yield f"{variable('cycle_stall')}: must be longer than {interval}"
    if settings.cycle_bytes < _SMALLEST_CYCLE:
        least = write_size(_SMALLEST_CYCLE)
        yield f"{variable('cycle_bytes')}: must be at least {least}, which one dead letter may need"
    if not _SHORTEST_TRANSACTION <= settings.transaction_timeout <= _LONGEST_TRANSACTION:
        span = f"{write_duration(_SHORTEST_TRANSACTION)} and {write_duration(_LONGEST_TRANSACTION)}"
        yield f"{variable('transaction_timeout')}: must be between {span}, which is what Kafka takes"


def _classic_only(settings: Settings) -> Iterator[str]:
    if settings.group_protocol == "classic":
        return
    for name in sorted(CLASSIC_ONLY & settings.kafka.keys()):
        yield f"{variable('kafka')}: {name} is the broker's unless {variable('group_protocol')} is classic"


def _taken(settings: Settings) -> Iterator[str]:
    others = ("", DEAD_LETTERS, STATES, CONTROL, REPLAYS)
    topic = settings.subscriptions
    if isinstance(topic, KafkaTopic) and topic.name in {settings.topic + other for other in others}:
        yield f"{variable('subscriptions')}: {topic.name} is the topic for something else"


def _written(name: str, value: Any) -> str:
    writers = [each.text for each in Settings.model_fields[name].metadata if isinstance(each, _Written)]
    return writers[0](value) if writers else str(value)


def _read(config: Path, known: Iterable[str]) -> dict[str, Any]:
    given = _toml(config)
    if unknown := sorted(given.keys() - set(known)):
        raise ConfigurationError(*(f"{config}: {key} is not a setting{_meant(key, known)}" for key in unknown))
    return given


def _toml(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}"
    raise ConfigurationError(f"{config}: {reason}")


def _problems(error: ValidationError, given: Mapping[str, Any], origin: Mapping[str, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        lines = str(cause or f"must be {problem['ctx']['expected']}").split("\n")
        where = _where(str(problem["loc"][0]), given, origin) if problem["loc"] else ""
        yield from (where + line for line in lines)


def _where(name: str, given: Mapping[str, Any], origin: Mapping[str, str]) -> str:
    place = f"{variable(name)}{origin.get(name, '')}: "
    if name in _SECRET:
        return place
    text = without_credentials(repr(given[name]))
    return f"{place}{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}: "
