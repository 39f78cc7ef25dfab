"""The mails of the email service: as they are made, and as a real mail server on loopback gets them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from hypothesis import given
from mailserver import MailServer
from payloads import NAMES, documented, hostile, payloads
from receivers import CERTIFIED_NAME, certificate, tls

from consumer.egress import EgressPolicy, parse_cidrs
from consumer.guarded import AddressInfo, Guard, GuardedSession
from consumer.subscriptions import parse_subscriptions
from consumer.wire import Answer, AnswerKind
from consumer.workers import Workers
from services import OptionsError, Payload, RecordingSession, ServiceBase, ServiceError
from services.email import Service

ID = "3f2a0c1e-0000-5000-8000-000000000000"
PASSWORD = "correct horse"
OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "security": "none",
    "sender": "Sprint.ly <hooks@acme.example>",
    "recipients": "team@example.com",
}
ACTIONS = ("created", "updated", "deleted", "archived")
HOSTILE = (
    '</td><script>alert(1)</script><a href="http://evil.example/">x</a> http://evil.example www.evil.example '
    "joe@evil.example @everyone &lt;b&gt; '\"\r\nBcc: victim@evil.example\r\n\r\n<img src=x> "
    "=?utf-8?q?=0D=0ABcc=3A_victim=40evil.example?= \u2028X-Evil: 1\u202e"
)


def service(**options: Any) -> Service:
    return Service(OPTIONS | options)


def made(payload: Payload, **options: Any) -> EmailMessage:
    """Return the mail, written out and read again, as whoever receives it does."""
    whole = service(**options).mail({"action": "created", **payload}, "team@example.com").as_bytes()
    assert max(map(len, whole.split(b"\r\n"))) <= 998
    assert whole.isascii()
    return cast(EmailMessage, message_from_bytes(whole, policy=default))


def parts(mail: EmailMessage) -> tuple[str, str]:
    """Return the plain text and the page."""
    plain, page = (cast(EmailMessage, part) for part in mail.iter_parts())
    assert (plain.get_content_type(), page.get_content_type()) == ("text/plain", "text/html")
    return plain.get_content().replace("\r\n", "\n"), page.get_content()


class Page(HTMLParser):
    """What stands in a page: tags, links and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


MADE = {
    ("html", ("lang",)),
    ("body", ("style",)),
    ("p", ()),
    ("a", ("href",)),
    ("blockquote", ()),
    ("table", ()),
    ("tr", ()),
    ("th", ("align", "valign")),
    ("td", ()),
    ("br", ()),
}
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "List-Id",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
}
AUTOMATIC = re.compile(r"\w+://|\w\.[a-z]{2,}|\w@\w|@\w", re.IGNORECASE)


def actions_of(text: str) -> list[str]:
    """Return what mail programs would make a link of, but for the addresses of the items themselves."""
    return AUTOMATIC.findall(re.sub(r"https?://sprint\.ly/\S*", "", text))


# What is in a mail


def test_a_mail_tells_what_happened_as_text_and_as_a_page() -> None:
    payload = documented("item")
    payload["attributes"]["title"] = "Tea & <cake>"
    mail = made(payload)
    assert mail["Subject"] == "[sprint.ly] #1212 Tea & <cake>"
    assert mail["From"] == '"Sprint.ly" <hooks@acme.example>'
    assert mail["To"] == "team@example.com"
    assert mail["List-Id"] == "<1111.sprintly.acme.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    plain, page = parts(mail)
    assert plain.split("\n\n")[0] == 'Joe S. created the story "Tea & <cake>" (#1212)'
    assert "Status: backlog\nAssigned to: Joe S." in plain
    assert plain.endswith("\n\nhttp://sprint.ly/i/1/116550/\n")
    assert '<a href="http://sprint.ly/i/1/116550/">&quot;Tea &amp; &lt;cake&gt;&quot; (#1212)</a>' in page
    assert '<th align="left" valign="top">Status</th><td>backlog</td>' in page


def test_a_comment_is_quoted_in_both() -> None:
    payload = documented("comment")
    payload["attributes"]["body"] = "Is it 1 < 2?\nYes."
    plain, page = parts(made(payload))
    assert "\n\n> Is it 1 < 2? Yes.\n" in plain
    assert "<blockquote>Is it 1 &lt; 2? Yes.</blockquote>" in page


def test_a_list_has_its_lines_in_both() -> None:
    payload = documented("deploy")
    payload["attributes"]["items"] = [{"number": n, "title": "t"} for n in range(12)]
    plain, page = parts(made(payload))
    assert "#1 t\n#2 t\n" in plain
    assert "#1 t<br>#2 t<br>" in page
    assert "and 2 more" in plain


def test_mails_about_one_item_make_one_conversation() -> None:
    comment = documented("comment")
    comment["attributes"]["item"]["number"] = 1212
    item, about = made(documented("item")), made(comment)
    assert item["References"] == item["In-Reply-To"] == "<1111.1212.sprintly@acme.example>"
    assert about["References"] == item["References"]
    assert made({**documented("item"), "product": {"id": 2}})["References"] != item["References"]
    assert made(documented("deploy"))["References"] is None


def test_a_long_title_is_cut_visibly() -> None:
    payload = documented("item")
    payload["attributes"]["title"] = "ä" * 500
    subject = made(payload)["Subject"]
    assert len(subject) == 200
    assert subject.endswith("ä...")


def test_alone_each_mail_has_an_id_of_its_own() -> None:
    first, second = (made(documented("item"))["Message-ID"] for _ in range(2))
    assert first != second
    assert first.endswith("@acme.example>")


def test_new_things_are_mailed() -> None:
    assert Service.events == ("*.created",)
    assert Service.blocking


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_event_makes_a_mail(name: str, action: str) -> None:
    mail = made({**documented(name), "action": action})
    assert set(mail.keys()) <= HEADERS
    assert all(len(part) > 20 for part in parts(mail))


# What nobody can write into it


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", [*ACTIONS, HOSTILE])
def test_nobody_writes_headers_tags_or_links_into_a_mail(name: str, action: str) -> None:
    mail = made({**hostile(documented(name), HOSTILE), "action": action})
    assert set(mail.keys()) <= HEADERS
    assert len(mail.keys()) == len(set(mail.keys()))
    assert all("\n" not in str(value) and "\r" not in str(value) for value in mail.values())
    plain, source = parts(mail)
    page = Page(source)
    assert set(page.tags) <= MADE
    assert all(link.startswith(("http://sprint.ly/", "https://sprint.ly/")) for link in page.links)
    assert actions_of(plain) == actions_of(page.text) == []


def test_an_address_that_is_none_is_no_link() -> None:
    payload = documented("item")
    payload["attributes"]["short_url"] = 'http://evil.example/"><script>'
    plain, page = parts(made(payload))
    assert "evil" not in plain + page


def test_a_title_is_no_encoded_word() -> None:
    payload = documented("item")
    payload["attributes"]["title"] = "=?utf-8?q?=0D=0ABcc=3A_joe=40example.com?="
    mail = made(payload)
    assert mail["Bcc"] is None
    assert mail["Subject"].replace("\u2060", "").endswith("#1212 =?utf-8?q?=0D=0ABcc=3A_joe=40example.com?=")


@given(payloads)
def test_any_payload_is_one_bounded_mail(payload: Payload) -> None:
    mail = made(payload)
    assert set(mail.keys()) <= HEADERS
    assert set(Page(parts(mail)[1]).tags) <= MADE
    assert len(mail.as_bytes()) < 40_000


# Options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"host": "mail.example.com:x/"}, "host is wrong: not the name or address of a host"),
        ({"host": "a\r\nb"}, "host is wrong: not the name or address of a host"),
        ({"security": "ssl"}, "security is wrong: input should be 'starttls', 'tls' or 'none'"),
        ({"port": 0}, "port is wrong: input should be greater than or equal to 1"),
        ({"username": "joe"}, "options is wrong: username and password belong together"),
        (
            {"username": "joe", "password": PASSWORD},
            "options is wrong: security none would send the password in the clear",
        ),
        ({"recipients": []}, "recipients is wrong: neither an address nor a list of addresses"),
        ({"recipients": ["a@b.c", "a@b.c"]}, "recipients is wrong: numbers 1 and 2 are the same address"),
        ({"recipients": "a@b.c\r\nRCPT TO:<x@y.z>"}, "recipients is wrong: not an address such as team@example.com"),
        ({"recipients": ["a@b.c", "a b@c.d"]}, "recipients is wrong: not an address such as team@example.com"),
        (
            {"sender": "a@b.c\r\nBcc: x@y.z"},
            "sender is wrong: neither an address, such as hooks@example.com, nor a name with one in <>",
        ),
        (
            {"sender": "a@b.c, x@y.z"},
            "sender is wrong: neither an address, such as hooks@example.com, nor a name with one in <>",
        ),
        (
            {"sender": "Sprint.ly"},
            "sender is wrong: neither an address, such as hooks@example.com, nor a name with one in <>",
        ),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionsError) as caught:
        service(**options)
    assert str(caught.value) == f"email: {problem}"


def test_each_recipient_is_a_subscription() -> None:
    entry = {"id": "mail", "product": 1, "service": "email"}
    options = OPTIONS | {"recipients": ["a@example.com", "b@example.com"]}
    text = json.dumps({"subscriptions": [{**entry, "options": options}]})
    found = parse_subscriptions(text, {})
    assert [each.service.options.recipients for each in found] == [("a@example.com",), ("b@example.com",)]
    assert len({each.id for each in found}) == 2


@pytest.mark.parametrize(
    ("sender", "name", "domain"),
    [
        ("hooks@acme.example", "", "acme.example"),
        ('"Acme, hooks" <hooks@b.example>', "Acme, hooks", "b.example"),
        ("Büro <hooks@localhost>", "Büro", "localhost"),
    ],
)
def test_the_sender_may_have_a_name(sender: str, name: str, domain: str) -> None:
    mail = made(documented("item"), sender=sender)
    assert mail["From"].addresses[0].display_name == name
    assert mail["Message-ID"].endswith(f"@{domain}>")


def test_the_instructions_name_every_option() -> None:
    assert (Service.name, Service.title) == ("email", "Email")
    assert all(f"`{name}`" in Service.description for name in Service.Options.model_fields)


def test_a_recorded_mail_says_what_it_is() -> None:
    with pytest.raises(ServiceError, match="blocking = True"):
        service().requests_for(documented("item"))


# Over the wire


def resolver(address: str = "127.0.0.1") -> Callable[[str, int], list[AddressInfo]]:
    return lambda _host, port: [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]


def answer_of(
    bound: ServiceBase, payload: Payload, pem: Path, allow: str = "127.0.0.0/8", patience: float = 15.0
) -> Answer:
    """Return what one attempt in the consumer comes to."""
    guard = Guard(EgressPolicy(parse_cidrs(allow)), resolve=resolver())

    async def main() -> Answer:
        workers = Workers(session=lambda own: GuardedSession(guard, own, ca_bundle=pem, read_timeout=patience))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        workers.start(bound, payload, ID, future.set_result)
        try:
            return await asyncio.wait_for(future, 20)
        finally:
            await workers.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())._replace(seconds=0.0)


def bound(port: int, **options: Any) -> Service:
    secure = {"host": CERTIFIED_NAME, "security": "starttls", "port": port}
    return Service(OPTIONS | secure | options, RecordingSession())


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def context(pem: Path) -> ssl.SSLContext:
    return tls(pem)


LOGIN = {"username": "joe", "password": PASSWORD}
DELIVERED = Answer(AnswerKind.ANSWERED, 200)


def test_a_mail_goes_by_starttls_with_a_login(pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context, login=("joe", PASSWORD)) as server:
        assert answer_of(bound(server.port, **LOGIN), documented("item"), pem) == DELIVERED
    [taken] = server.mails
    assert taken[:4] == ("hooks@acme.example", ["team@example.com"], True, "joe")
    plain, page = parts(taken.message)
    assert plain.startswith("Joe S. created the story")
    assert Page(page).links == ["http://sprint.ly/i/1/116550/"]
    assert taken.message["Date"].datetime.tzinfo is not None


def test_a_mail_goes_by_tls_from_the_first_byte(pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context, implicit=True) as server:
        assert answer_of(bound(server.port, security="tls"), documented("item"), pem) == DELIVERED
    assert [taken.encrypted for taken in server.mails] == [True]


def test_an_attempt_that_comes_again_has_the_same_message_id(pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context) as server:
        for _ in range(2):
            assert answer_of(bound(server.port), documented("item"), pem) == DELIVERED
    assert [taken.message["Message-ID"] for taken in server.mails] == [f"<{ID}@acme.example>"] * 2


def test_what_people_write_stays_within_the_mail(pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context) as server:
        payload = hostile(documented("comment"), HOSTILE)
        payload["attributes"]["body"] = "a\r\n.\r\nMAIL FROM:<x@evil.example>\r\n"
        assert answer_of(bound(server.port), payload, pem) == DELIVERED
    [taken] = server.mails
    assert taken.recipients == ["team@example.com"]
    assert set(taken.message.keys()) <= HEADERS


REPLIES: list[tuple[dict[str, str], AnswerKind, str]] = [
    ({"MAIL": "451 not now"}, AnswerKind.TRANSIENT, "451: not now"),
    ({"MAIL": "550 not as that"}, AnswerKind.REFUSED, "550: not as that"),
    ({"RCPT": "450 mailbox busy"}, AnswerKind.TRANSIENT, "450: mailbox busy"),
    ({"RCPT": "550 no such user"}, AnswerKind.REFUSED, "550: no such user"),
    ({"DATA": "452 disk full"}, AnswerKind.TRANSIENT, "452: disk full"),
    ({"DATA": "554 spam"}, AnswerKind.REFUSED, "554: spam"),
]


@pytest.mark.parametrize(("replies", "kind", "said"), REPLIES)
def test_a_refusal_is_judged_by_its_code(
    replies: dict[str, str], kind: AnswerKind, said: str, pem: Path, context: ssl.SSLContext
) -> None:
    with MailServer(replies, tls=context) as server:
        answer = answer_of(bound(server.port), documented("item"), pem)
    assert answer == Answer(kind, error=f"the mail server answered {said}")
    assert server.mails == []


def test_a_wrong_password_is_final_and_not_shown(pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context, login=("joe", "another")) as server:
        answer = answer_of(bound(server.port, **LOGIN), documented("item"), pem)
    assert answer.kind is AnswerKind.REFUSED
    assert "535" in answer.error
    assert PASSWORD not in answer.error


def test_without_starttls_nothing_is_sent(pem: Path) -> None:
    with MailServer() as server:
        answer = answer_of(bound(server.port), documented("item"), pem)
    assert answer == Answer(AnswerKind.REFUSED, error="the mail server does not support what the service asks for")
    assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_somebody_else_is_not_trusted(security: str, pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context, implicit=security == "tls") as server:
        other = answer_of(bound(server.port, security=security, host="other.test"), documented("item"), pem)
    assert other.kind is AnswerKind.TRANSIENT
    assert "its certificate is not trusted" in other.error
    assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_that_says_nothing_is_not_waited_for_for_ever(security: str, pem: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = answer_of(bound(silent.getsockname()[1], security=security), documented("item"), pem, patience=0.2)
    assert answer == Answer(AnswerKind.TRANSIENT, error="no answer: it took too long")


def test_an_address_that_is_not_permitted_is_not_connected_to(pem: Path, context: ssl.SSLContext) -> None:
    with MailServer(tls=context) as server:
        answer = answer_of(bound(server.port), documented("item"), pem, allow="10.0.0.0/8")
    assert answer == Answer(
        AnswerKind.REFUSED,
        error=f"no connection to {CERTIFIED_NAME}: 127.0.0.1 is a loopback address, and SPRINTLY_EGRESS_ALLOW "
        "does not list it",
    )


def test_alone_it_mails_each_recipient_apart() -> None:
    with MailServer() as server:
        service(port=server.port, recipients=["a@example.com", "b@example.com"]).send(documented("item"))
    assert [(taken.recipients, taken.message["To"]) for taken in server.mails] == [
        (["a@example.com"], "a@example.com"),
        (["b@example.com"], "b@example.com"),
    ]
    assert len({taken.message["Message-ID"] for taken in server.mails}) == 2


def test_a_server_that_hangs_up_after_the_mail_has_it() -> None:
    with MailServer({"QUIT": "421 gone"}) as server:
        service(port=server.port).send(documented("item"))
    assert len(server.mails) == 1


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_in_the_clear_nothing_goes_to_a_public_address(address: str) -> None:
    """No connection is made to one: the sockets are a pair, and one of them says where it leads."""

    class Pretending(socket.socket):
        def getpeername(self) -> tuple[str, int]:
            return (address, 25)

    class Elsewhere(RecordingSession):
        def connect(self, host: str, port: int) -> socket.socket:  # type: ignore[override]
            return Pretending(fileno=ours.detach())

    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(ServiceError, match=f"{address} is a public address"):
        Service(OPTIONS, Elsewhere()).send(documented("item"))
