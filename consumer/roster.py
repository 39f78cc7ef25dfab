"""The subscriptions that there are, or were: from the file, from what is owed, from what was said of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from consumer.errors import ConfigurationError
from consumer.subscriptions import ID, entry_of

if TYPE_CHECKING:
    from consumer.control import Words
    from consumer.state import State
    from consumer.subscriptions import Subscription


class Roster:
    """Who there is; `subscriptions` is None where the file could not be read here.

    `aside` has those whose record in the subscriptions topic cannot be used, with the reason; `place` is where a
    subscription stands, for people.
    """

    def __init__(
        self,
        subscriptions: Sequence[Subscription] | None,
        states: Iterable[State],
        words: Words,
        aside: Mapping[str, str] | None = None,
        place: str = "the file",
    ) -> None:
        self.subscriptions: Mapping[str, Subscription] | None = None
        if subscriptions is not None:
            self.subscriptions = {subscription.id: subscription for subscription in subscriptions}
        self.states = list(states)
        self.words = words
        self.aside = aside or {}
        self._place = place
        owed = {state.subscription for state in self.states}
        self.ids = sorted({*(self.subscriptions or {}), *owed, *words.off, *self.aside})

    def find(self, given: str) -> list[str]:
        """Return the ids meant by `given`: one, its unambiguous beginning, or all destinations of one.

        Raises ConfigurationError where that is nobody, or several.
        """
        if given in self.ids:
            return [given]
        found = [id_ for id_ in self.ids if id_.startswith(given)]
        if found and len({entry_of(id_) for id_ in found}) == 1:
            return found
        if found:
            raise ConfigurationError(f"several subscriptions begin with {given}: {', '.join(found)}")
        if self.subscriptions is None and ID.fullmatch(entry_of(given)):
            return [given]  # whoever has the file knows it, or not
        close = difflib.get_close_matches(given, self.ids, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(f"there is no subscription {given}{hint}")

    def standing(self, id_: str) -> str:
        """Return how a subscription stands: enabled, disabled (by a word, or where it stands), set aside, or gone."""
        if entry_of(id_) in self.aside:
            return "set aside"
        if self.subscriptions is not None and id_ not in self.subscriptions:
            return "gone"
        if self.subscriptions is not None and not self.subscriptions[id_].enabled:
            return f"disabled in {self._place}"
        return "disabled" if self.words.is_off(id_) else "enabled"
