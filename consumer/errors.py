"""Every error this application raises on purpose; its type says what happens next, its text is one clear sentence.

`cli` turns each of them into that sentence on stderr and the exit code it carries.
"""

from __future__ import annotations

from collections.abc import Sequence


class SprintlyError(Exception):
    """Something failed that the person at the command line has to know; exit code 1."""

    exit_code = 1


class ConfigurationError(SprintlyError):
    """Settings, subscriptions or arguments are wrong: nothing starts; exit code 2.

    `problems` holds one sentence for each thing that is wrong, so that all of them are shown at once.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class SealedFast(ValueError):
    """No key at hand opens a subscription's options; the text is the rest of a sentence about them."""


class KeysMissing(SprintlyError):
    """None of the sealed subscriptions can be opened: with what is left, events would be passed over."""


class InvalidPayload(SprintlyError):
    """A payload does not fit the event schema; the text begins with the path of what is wrong. Exit code 2."""

    exit_code = 2

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class BrokerError(SprintlyError):
    """Kafka could not be reached or refused; the text names the address or the topic. Exit code 1."""


class BrokerUnreachable(BrokerError):
    """No broker answered in time: what waits may be tried again."""


class LoginRefused(BrokerError):
    """Brokers and this client do not accept each other (password, token, certificate): waiting does not help."""


class CycleAborted(BrokerError):
    """A cycle did not become durable, or nobody knows whether it did: write it again with fresh metadata."""


class WriterLost(CycleAborted):
    """The transactional producer is of no more use: write the cycle again by a new one."""


class RecordTooLarge(BrokerError):
    """The broker refuses a record for its size: `keys` says which; make them fit before the next cycle."""

    def __init__(self, message: str, keys: frozenset[bytes]) -> None:
        super().__init__(message)
        self.keys = keys


class ReplayOverrun(BrokerError):
    """Another replay of the same group has begun; this one stops, having lost and doubled nothing."""


class RegistryError(SprintlyError):
    """The schema registry refused what was asked of it; the text names the registry's address. Exit code 1."""


class RegistryUnavailable(RegistryError):
    """The registry cannot be asked now (down, wrong address or credentials): what waits is asked for again."""


class SchemaUnusable(RegistryError):
    """The registry's answer is definite: there is no such schema, or it is none that events can be read with."""
