"""What happened, in words: a payload comes in, one `Message` goes out that any chat service can render.

A Message is plain text in bounded pieces. Titles, names and comments in it are other people's, so each piece has
to be escaped for where it goes; `Message.sentence` takes the functions that do.

Every field of a payload may be absent or null, and one of a type that nobody expects is treated like an absent one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from services._text import cut, excerpt, listed, plain

Escape: TypeAlias = Callable[[str], str]
"""Turns plain text into markup that reads the same."""
Link: TypeAlias = Callable[[str, str], str]
"""Turns an address and an escaped text into a link."""
Part: TypeAlias = "str | Reference"

COLOURS = {"story": "#96be60", "task": "#454545", "defect": "#D94949", "test": "#5A96AB"}
OTHER_COLOUR = "#84b431"

LONGEST_NAME, LONGEST_TITLE, LONGEST_FIELD, LONGEST_ENTRY, LONGEST_ADDRESS = 60, 240, 1000, 90, 500
"""Characters; an entry is a line of a list. The narrowest cards that services fill are Discord's, whose titles hold 256
and fields 1,024 (https://discord.com/developers/docs/resources/message#embed-object-embed-limits)."""

# RFC 3986, section 2, without the single quote: such an address can end neither a link nor an attribute around it.
_ADDRESS = re.compile(r"https?://[a-z0-9\[][-a-z0-9._~:/?#\[\]@!$&()*+,;=%]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reference:
    """An item that a message speaks of. `title` may be empty; `number` and the http or https `url` may be missing."""

    title: str = ""
    number: int | None = None
    url: str | None = None

    def short(self) -> str:
        """Return `#12`, or nothing."""
        return "" if self.number is None else f"#{self.number}"

    def quoted(self) -> str:
        """Return `"Title" (#12)`, or what there is of it."""
        number = f"({self.short()})" if self.title and self.short() else self.short()
        return " ".join(filter(None, [f'"{self.title}"' if self.title else "", number]))

    def listed(self) -> str:
        """Return `#12 Title`, or what there is of it."""
        return " ".join(filter(None, [self.short(), self.title]))


class Field(NamedTuple):
    """A detail beside the sentence. One that is not `short` wants the whole width; a list has a line for each entry."""

    label: str
    text: str
    short: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    """One event as people tell it: the sentence in `parts`, and what a card shows around it."""

    parts: tuple[Part, ...]
    actor: str
    """Who did it, as in `Joe S.`, or `Someone`."""
    subject: Reference
    """The item that it is about; an empty reference where there is none, as for a deploy."""
    colour: str
    """That of the item's type, as `#rrggbb`."""
    product: str
    """The product's name, or nothing."""
    excerpt: str
    """The first 50 characters of what somebody wrote (a comment, the notes of a deploy), or nothing."""
    fields: tuple[Field, ...]

    def sentence(
        self, escape: Escape = str, link: Link | None = None, name: Callable[[Reference], str] = Reference.quoted
    ) -> str:
        """Return the sentence, each part escaped; items are called what `name` says, and linked if there is a `link`.

        Without arguments it is plain text: Joe S. created the story "As a user, I want this" (#12)
        """

        def render(part: Part) -> str:
            if isinstance(part, str):
                return escape(part)
            text = escape(name(part))
            return link(part.url, text) if link and part.url and text else text

        return " ".join(filter(None, map(render, self.parts)))

    def line(self, escape: Escape = str, address: Escape = str) -> str:
        """Return all that fits in a line without links: the sentence, what was written, and the subject's address.

        `address` escapes the address, of which `escape` might make something that nobody can follow.
        """
        written = f": {escape(self.excerpt)}" if self.excerpt else ""
        where = f" {address(self.subject.url)}" if self.subject.url else ""
        return f"{self.sentence(escape)}{written}{where}"


def message(payload: Mapping[str, Any]) -> Message:
    """Return what happened, for every model and action, known or not; whatever JSON or Avro may hold raises nothing."""
    attributes = _record(payload, "attributes")
    event = _Event(
        _text(payload, "model"),
        _text(payload, "action") or "created",
        name_of(_record(attributes, "user") or _record(attributes, "created_by")),
        _text(_record(payload, "product"), "name"),
        attributes,
    )
    return _TELLERS.get(event.model, _tell_other)(event)


class _Event(NamedTuple):
    """What the tellers below look at; `actor` is empty where the payload names nobody."""

    model: str
    action: str
    actor: str
    product: str
    attributes: Mapping[str, Any]

    @property
    def someone(self) -> str:
        return self.actor or "Someone"

    @property
    def by(self) -> str:
        return f" by {self.actor}" if self.actor else ""

    def told(
        self, *parts: Part, about: Mapping[str, Any], excerpt: str = "", fields: tuple[Field, ...] = ()
    ) -> Message:
        return Message(
            parts=tuple(part for part in parts if part),
            actor=self.someone,
            subject=refer(about),
            colour=COLOURS.get(_text(about, "type"), OTHER_COLOUR),
            product=self.product,
            excerpt=excerpt,
            fields=tuple(field for field in fields if field.text),
        )


# A payload says who made a thing, and not who changed or deleted it (an Item.updated still has the person who created
# the item, years ago perhaps), so the rest is told in the passive.


def _tell_item(event: _Event) -> Message:
    item = event.attributes
    if event.action == "created":
        return event.told(f"{event.someone} created {_the(item)}", refer(item), about=item, fields=_details(item))
    return event.told(_capital(_the(item)), refer(item), f"was {event.action}", about=item, fields=_details(item))


def _details(item: Mapping[str, Any]) -> tuple[Field, ...]:
    parent = item.get("parent")
    return (
        Field("Status", _text(item, "status")),
        Field("Assigned to", name_of(_record(item, "assigned_to"))),
        Field("Score", _text(item, "score")),
        Field("Closed as", _text(item, "close_reason")),
        Field(
            "Tags",
            cut(", ".join(filter(None, map(plain, _list(item, "tags")[:LONGEST_FIELD]))), LONGEST_FIELD),
            short=False,
        ),
        Field("Part of", Reference(number=_integer(parent)).short() or refer(_mapping(parent)).listed(), short=False),
    )


def _tell_comment(event: _Event) -> Message:
    item, written = _record(event.attributes, "item"), excerpt(event.attributes.get("body"))
    if event.action == "created":
        return event.told(f"{event.someone} commented on {_the(item)}", refer(item), about=item, excerpt=written)
    lead = f"The comment{event.by} on {_the(item)}"
    return event.told(lead, refer(item), f"was {event.action}", about=item, excerpt=written)


def _tell_favorite(event: _Event) -> Message:
    item = _record(event.attributes, "item")
    # A favorite is a person's own, so nobody else takes it back.
    if verb := {"created": "favorited", "deleted": "unfavorited"}.get(event.action):
        return event.told(f"{event.someone} {verb} {_the(item)}", refer(item), about=item)
    return event.told(f"The favorite{event.by} on {_the(item)}", refer(item), f"was {event.action}", about=item)


def _tell_block(event: _Event) -> Message:
    blocked, blocker = _record(event.attributes, "blocked"), _record(event.attributes, "item")
    unblocked = event.attributes.get("unblocked") is True and event.action != "deleted"
    if unblocked:
        lead, because, end = f"{event.someone} unblocked {_the(blocked)}", "that was blocked by", ""
    elif event.action == "created":
        lead, because, end = f"{event.someone} blocked {_the(blocked)}", "because of", ""
    else:
        lead, because, end = f"The block on {_the(blocked)}", "by", f"was {event.action}"
    cause: tuple[Part, ...] = (f"{because} {_the(blocker)}", refer(blocker)) if blocker else ()
    fields = (Field("Blocked by", refer(blocker).listed(), short=False),)
    return event.told(lead, refer(blocked), *cause, end, about=blocked, fields=fields)


def _tell_deploy(event: _Event) -> Message:
    deploy = event.attributes
    version, environment = _text(deploy, "version"), _text(deploy, "environment")
    what = f" version {version}" if version else f" {event.product}" if event.product else ""
    where = f" to {environment}" if environment else ""
    if event.action == "created":
        sentence = f"{event.someone} deployed{what}{where}"
    else:
        sentence = f"The deploy{' of' if what else ''}{what}{where} was {event.action}"
    fields = (
        Field("Environment", environment),
        Field("Version", version),
        Field("Items", _labels(_list(deploy, "items")), short=False),
    )
    return event.told(sentence, about={}, excerpt=excerpt(deploy.get("notes")), fields=fields)


def _tell_other(event: _Event) -> Message:
    """Tell of a model that came later than this code: by its own title and number, or by those of its item."""
    own, item = refer(event.attributes), _record(event.attributes, "item")
    what = f"the {_words(event.model)}"
    about = event.attributes
    if item and own == Reference():
        what, own, about = f"{what} on {_the(item)}", refer(item), item
    if event.action == "created" and event.actor:
        return event.told(f"{event.actor} created {what}", own, about=about)
    return event.told(_capital(what), own, f"was {event.action}", about=about)


_TELLERS: dict[str, Callable[[_Event], Message]] = {
    "Item": _tell_item,
    "Comment": _tell_comment,
    "Favorite": _tell_favorite,
    "Block": _tell_block,
    "Deploy": _tell_deploy,
}


def name_of(person: Mapping[str, Any]) -> str:
    """Return `Joe S.`; without a last name `Joe`, without both what their email has before the @, or nothing."""
    first, last = _text(person, "first_name"), _text(person, "last_name")
    if first:
        return f"{first} {last[0]}." if last else first
    local, at, _ = _text(person, "email").partition("@")
    return last or (local if at else "")


def refer(item: Mapping[str, Any]) -> Reference:
    """Return how a message speaks of an item."""
    return Reference(_title(item), _integer(item.get("number")), _address(item.get("short_url")))


def _title(item: Mapping[str, Any]) -> str:
    """Return the title; a story without one gets the sentence that its parts make."""
    who, what, why = (plain(item.get(name)) for name in ("who", "what", "why"))
    clauses = [f"As a {who}," if who else "", f"I want {what}" if what else "", f"so that {why}" if why else ""]
    return cut(plain(item.get("title")) or " ".join(filter(None, clauses)).rstrip(","), LONGEST_TITLE)


def _address(value: object) -> str | None:
    fits = isinstance(value, str) and len(value) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(value)
    return str(value) if fits else None


def _labels(items: list[Any]) -> str:
    labels = [refer(_mapping(item)).listed() for item in items]
    return listed([cut(label, LONGEST_ENTRY) for label in labels if label])


def _the(item: Mapping[str, Any]) -> str:
    """Return `the story`, `the item` if its type is missing, or `an item` if all of it is."""
    return f"the {_text(item, 'type') or 'item'}" if item else "an item"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words(model: str) -> str:
    """Return `release note` for `ReleaseNote`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", model).lower() or "event"


def _text(record: Mapping[str, Any], name: str) -> str:
    return cut(plain(record.get(name)), LONGEST_NAME)


def _record(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(record.get(name))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name)
    return value if isinstance(value, list) else []


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
