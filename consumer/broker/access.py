"""Why brokers do not let a client in, or not do its work: errors of the client come in, sentences go out.

Each says what is missing and how it is mended. None holds a value of SPRINTLY_KAFKA, for passwords are among them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException

from consumer.errors import BrokerError, BrokerUnreachable, ConfigurationError, LoginRefused

T = TypeVar("T")

# Set by this side, so that their values are no secret.
OURS = frozenset(
    {
        "auto.offset.reset",
        "bootstrap.servers",
        "client.id",
        "group.id",
        "group.protocol",
        "group.remote.assignor",
        "isolation.level",
        "partition.assignment.strategy",
        "partitioner",
        "transactional.id",
    }
)
# One of a few words each, without which no sentence about them could be understood.
CHOICES = frozenset(
    {"sasl.mechanism", "sasl.mechanisms", "sasl.oauthbearer.method", "security.protocol", "ssl.keystore.type"}
)
MASK = "***"
SHORT = 8  # characters; a value with fewer is masked where it stands as a word, or half of a sentence might be masked

# What librdkafka says of a connection that the other side will not have, beside the codes for that.
REFUSED = re.compile(r"certificate verify failed|SSL alert number|alert certificate")
# A broker that expects TLS hangs up, without a word, on a client that does not speak it; this is all that is logged.
HUNG_UP = re.compile(r"closed by peer.*in state APIVERSION_QUERY")
EXPECTS_TLS = "it hangs up at once, as a broker does that expects TLS: see security.protocol"
# A broker that expects no TLS closes its end; librdkafka asks the question itself only where it reads an answer first.
CLOSED = "SSL connection closed by peer"
EXPECTS_NONE = f"{CLOSED}: connecting to a PLAINTEXT broker listener? see security.protocol"
# Where it happened and how long it took: `sasl_ssl://host:9094/bootstrap: ` and ` (after 3ms in state AUTH_REQ)`.
AROUND = re.compile(r"^\S+://\S+: | \(after \d+ms in state \w+\)")

# Lines of librdkafka's log that the call raises as well, which they are about.
RAISED = ("FATAL ", "TXNERR ")


class Right(NamedTuple):
    """What a client has to be allowed, in the words of kafka-acls.sh; a `prefix` allows all whose name begins so."""

    operations: Sequence[str]
    kind: str
    names: Sequence[str]
    prefix: bool = False

    def lacking(self) -> str:
        """Return the sentence that says that it is missing, with the command that gives it."""
        flags = [f"--operation {operation}" for operation in self.operations]
        flags += [f"--{self.kind} {name}" for name in self.names]
        flags += ["--resource-pattern-type prefixed"] if self.prefix else []
        what = f"{' and '.join(self.operations)} on {self.kind} {', '.join(self.names)}{'*' if self.prefix else ''}"
        command = f"kafka-acls.sh --bootstrap-server ... --add --allow-principal User:... {' '.join(flags)}"
        return f"Kafka does not allow this client {what}; `{command}` allows it"


def denied(
    error: KafkaError,
    topics: Sequence[str] = (),
    operations: Sequence[str] = ("Read",),
    *,
    group: str = "",
    writer: tuple[str, bool] = ("", False),
) -> str | None:
    """Return the sentence about a right that is missing; None where the error is another one.

    It was `operations` that were tried on `topics`. `writer` is a transactional id, or its beginning and True.
    """
    name, prefix = writer
    rights = {
        KafkaError.TOPIC_AUTHORIZATION_FAILED: Right(operations, "topic", topics),
        KafkaError.CLUSTER_AUTHORIZATION_FAILED: Right(operations, "topic", topics),  # that would do as well
        KafkaError.GROUP_AUTHORIZATION_FAILED: Right(("Read",), "group", (group,)),
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Right(("Write",), "transactional-id", (name,), prefix),
    }
    right = rights.get(error.code())
    return right.lacking() if right is not None and all(right.names) and right.names else None


def opened(kind: Callable[[dict[str, Any]], T], config: Mapping[str, Any]) -> T:
    """Make a client. Raises ConfigurationError where it does not take its properties."""
    try:
        return kind(dict(config))
    except KafkaException as error:
        said = masked(error.args[0].str(), config, public=OURS)
        raise ConfigurationError(f"SPRINTLY_KAFKA: the Kafka client does not take it: {said}") from None


def masked(text: str, config: Mapping[str, Any], *, public: frozenset[str] = OURS | CHOICES) -> str:
    """Return a text of the client's without any value of `config`, but those of the `public` properties."""
    values = {value for name, value in config.items() if name not in public and isinstance(value, str) and value}
    for value in sorted(values, key=len, reverse=True):
        whole = re.escape(value)
        text = re.sub(whole if len(value) >= SHORT else rf"(?<!\w){whole}(?!\w)", MASK, text)
    return text


class ClientLog:
    """What a long-lived client logs, on its way to the logger `librdkafka`, without secrets."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Mask the values of `config`."""
        self._config = dict(config)
        self._logger = logging.getLogger("librdkafka")

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Log a line, unless it is about what is raised to the caller anyway."""
        text = message % arguments if arguments else message
        if not text.startswith(RAISED):
            self._logger.log(level, "%s", masked(text, self._config))


class Witness:
    """Notes why brokers turn one client away, which asks a question and says in the end only that there is no answer.

    It takes the client's errors and its log, which would tell the same of each of some twenty tries a second.
    """

    def __init__(self, config: Mapping[str, Any], bootstrap: str) -> None:
        """Watch a client of `config`."""
        self._config = dict(config)
        self._bootstrap = bootstrap
        self._refused = ""
        self._guess = ""

    @property
    def config(self) -> dict[str, Any]:
        """What the client is to be made of."""
        return {**self._config, "logger": self, "error_cb": self.note}

    def note(self, error: KafkaError) -> None:
        """Take in an error of the client's."""
        text = AROUND.sub("", masked(error.str(), self._config))
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL) or REFUSED.search(text):
            self._refused = text
        elif error.code() == KafkaError._TRANSPORT:
            self._guess = EXPECTS_NONE if CLOSED in text else text

    def log(self, _level: int, message: str, *arguments: object) -> None:
        """Take in a line of the client's log."""
        if HUNG_UP.search(message % arguments if arguments else message):
            self._guess = EXPECTS_TLS

    def no_answer(self, timeout: float, error: KafkaError) -> BrokerError:
        """Return what it means that a question was not answered in time: nobody is there, or lets this client in."""
        if self._refused:
            return LoginRefused(
                f"Kafka at {self._bootstrap} and this client do not accept each other: {self._refused};"
                " see SPRINTLY_KAFKA"
            )
        return BrokerUnreachable(
            f"no Kafka broker answered at {self._bootstrap} within {timeout:g} s"
            f" ({self._guess or masked(error.str(), self._config)}); see SPRINTLY_BOOTSTRAP_SERVERS"
        )
