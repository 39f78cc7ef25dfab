"""What a service, its options or its use of the session can get wrong; each text is one clear sentence."""

from __future__ import annotations

from collections.abc import Iterable


class ServiceError(Exception):
    """A service breaks the contract; the text names the module or the call."""


class NotDelivered(ServiceError):
    """A blocking service says that it did not get through this time: another try may go well.

    The text is one sentence for the operator, without secrets.
    """


class OptionsError(ServiceError):
    """Options do not fit a service.

    `problems` holds a pair for each: the option's path (`urls[0]`) and what is wrong with it. No text holds a
    value, since a wrong secret is still a secret.
    """

    def __init__(self, service: str, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__(f"{service}: " + "; ".join(f"{field} {text}" for field, text in self.problems))
