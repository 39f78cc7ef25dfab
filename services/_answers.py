"""What a third party's answer means beyond its status: a service may judge it by `ServiceBase.judge`."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Meaning(Enum):
    """What is to be done after an answer."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"  # another try may go well
    THROTTLED = (
        "throttled"  # the third party is well, and wants fewer requests: it is waited for, no attempt is counted
    )
    PERMANENT = "permanent"  # never to be delivered: a dead letter
    GONE = "gone"  # nothing further is to be sent there: the subscription is disabled until somebody enables it


class Judgement(NamedTuple):
    """The meaning of one answer.

    `said` is what the third party gave as its reason, in its words; `wait` how many seconds it wants to be left alone,
    where it is THROTTLED and says so.
    """

    meaning: Meaning
    said: str = ""
    wait: float | None = None
