"""Reading subscriptions: what they become, and every problem by its exact sentence."""

from __future__ import annotations

import gc
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from consumer.errors import ConfigurationError
from consumer.strictyaml import MOST
from consumer.subscriptions import Subscription, load_subscriptions, parse_subscriptions
from services import Field, RecordingSession, Secret, SecretUrl, ServiceBase, ServiceOptions, listen_to, record
from services.webhook import Service as Webhook

PAYLOAD = {"action": "created", "model": "Item", "product": {"id": 1}, "attributes": {}}


class Chat(ServiceBase):
    name = "chat"

    class Options(ServiceOptions):
        url: SecretUrl
        token: Secret | None = None
        tags: dict[str, list[str]] = Field(default_factory=dict)

    @listen_to("*.created")
    def send(self, payload: dict[str, Any]) -> None:
        self.session.post(self.options.url, json=payload)


class Mail(ServiceBase):
    name = "mail"
    blocking = True

    class Options(ServiceOptions):
        host: str


class Fussy(ServiceBase):
    name = "fussy"

    def __init__(self, options: Any, session: Any = None) -> None:
        raise KeyError("t0ps3cret")


class Grumpy(Fussy):
    name = "grumpy"
    blocking = True


SERVICES = {"webhook": Webhook, "chat": Chat, "mail": Mail, "fussy": Fussy, "grumpy": Grumpy}


def read(text: str, **environ: str) -> tuple[Subscription, ...]:
    return parse_subscriptions(dedent(text), environ, SERVICES)


def entry(**changes: object) -> dict[str, object]:
    """Return a good entry with some fields changed; None leaves a field out."""
    fields = {"id": "acme", "product": 1, "service": "chat", "options": {"url": "http://a"}, **changes}
    return {name: value for name, value in fields.items() if value is not None}


def text_of(*entries: object) -> str:
    return f"subscriptions: {list(entries)!r}".replace("True", "true").replace("False", "false")


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, **environ)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(problem.startswith("subscriptions.yaml: ") for problem in caught.value.problems)
    return [problem.removeprefix("subscriptions.yaml: ") for problem in caught.value.problems]


def test_a_subscription_as_it_is_documented() -> None:
    [found] = read(
        """
        subscriptions:
          - id: acme-slack
            product: 1111
            service: chat
            events: ["*.updated", "Deploy.*"]
            order: none
            enabled: false
            options: {url: "${ACME_URL}"}
        """,
        ACME_URL="https://a.example/x",
    )
    assert (found.id, found.product, found.service.name) == ("acme-slack", 1111, "chat")
    assert (found.events, found.ordered, found.enabled) == (("*.updated", "Deploy.*"), False, False)
    assert found.service.options.url.get_secret_value() == "https://a.example/x"
    assert isinstance(found.service.session, RecordingSession)


def test_a_blocking_service_is_bound_like_any_other() -> None:
    [found] = read(text_of(entry(service="mail", options={"host": "${HOST}"})), HOST="mail.example")
    assert isinstance(found.service, Mail)
    assert (found.service.blocking, found.service.options.host) == (True, "mail.example")
    assert isinstance(found.service.session, RecordingSession)


def test_what_may_be_left_out_has_a_default() -> None:
    [found] = read(text_of(entry()))
    assert (found.events, found.ordered, found.enabled) == (None, True, True)


@pytest.mark.parametrize(("product", "expected"), [(1111, 1111), ("1111", 1111), ("*", None), (0, 0)])
def test_a_product_is_a_number_or_all(product: object, expected: int | None) -> None:
    assert read(text_of(entry(product=product)))[0].product == expected


def test_wanted_events_are_the_subscriptions_or_else_the_services() -> None:
    default, own = read(text_of(entry(id="a"), entry(id="b", events=["Item.updated"])))
    assert [default.wants("Item", action) for action in ("created", "updated")] == [True, False]
    assert [own.wants("Item", action) for action in ("created", "updated")] == [False, True]


def test_a_glob_may_name_a_model_that_nobody_knows_yet() -> None:
    assert read(text_of(entry(events=["Sprint.started"])))[0].wants("Sprint", "started")


def test_no_subscriptions_are_fine() -> None:
    assert read("subscriptions: []") == ()


def test_what_looks_like_a_date_is_text() -> None:
    assert read("subscriptions: [{id: 2012-08-13, product: 1, service: chat, options: {url: 'http://a'}}]")[0].id == (
        "2012-08-13"
    )


def test_order_key_is_the_default_by_name() -> None:
    assert read(text_of(entry(order="key")))[0].ordered is True


def test_variables_are_replaced_at_any_depth() -> None:
    options = {
        "url": "${SCHEME}://${HOST}/",
        "tags": {"${A}": ["${A}-${A}", "$${A}", "$A", "$$", "$", "$$${A}", "${B}"]},
    }
    [found] = read(text_of(entry(options=options)), SCHEME="http", HOST="b", A="x", B="${A}")
    assert found.service.options.url.get_secret_value() == "http://b/"
    assert found.service.options.tags == {"${A}": ["x-x", "${A}", "$A", "$$", "$", "$${A}", "${A}"]}


def test_a_secret_in_a_file_is_found_beside_the_subscriptions(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/url").write_text("https://a.example/x\n")
    path = tmp_path / "subscriptions.yaml"
    path.write_text(text_of(entry(options={"url": "file:secrets/url", "token": "env:TOKEN"})))
    [found] = load_subscriptions(path, {"TOKEN": "t"}, SERVICES)
    assert found.service.options.url.get_secret_value() == "https://a.example/x"
    assert found.service.options.token.get_secret_value() == "t"
    (tmp_path / "secrets/url").unlink()
    with pytest.raises(ConfigurationError) as caught:
        load_subscriptions(path, {"TOKEN": "t"}, SERVICES)
    missing = f"needs the file {tmp_path}/secrets/url, which cannot be read: No such file or directory"
    assert str(caught.value) == f"{path}: subscription acme: option url {missing}"


def test_a_list_of_destinations_becomes_a_subscription_each() -> None:
    urls = ["https://a.example/1", "https://b.example/2"]
    options = {"urls": [urls[0], "${B}"], "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    found = read(text_of(entry(service="webhook", options=options, events=["*.*"], order="none")), B=urls[1])
    assert [each.id for each in found] == [f"acme#{sha256(url.encode()).hexdigest()[:8]}" for url in urls]
    assert [[request.url for request in record(each.service, PAYLOAD)] for each in found] == [[url] for url in urls]
    assert all((each.product, each.events, each.ordered) == (1, ("*.*",), False) for each in found)
    assert all(record(each.service, PAYLOAD)[0].auth is not None for each in found)
    assert found[0].service is not found[1].service


def test_a_list_that_is_no_destination_goes_to_each_of_them_whole() -> None:
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_YW5vdGhlciBhbm90aGVyIGV4YW1wbGUh"]
    options = {"urls": ["https://a.example/1", "https://b.example/2"], "secret": ["${NEW}", "${OLD}"]}
    found = read(text_of(entry(service="webhook", options=options)), NEW=secrets[0], OLD=secrets[1])
    assert [[one.get_secret_value() for one in each.service.options.secret] for each in found] == [secrets] * 2


def test_a_list_of_one_is_a_list_and_a_text_keeps_the_id() -> None:
    single, listed = read(
        text_of(
            entry(id="a", service="webhook", options={"urls": "http://a/"}),
            entry(id="b", service="webhook", options={"urls": ["http://a/"]}),
        )
    )
    assert single.id == "a"
    assert listed.id == "b#" + sha256(b"http://a/").hexdigest()[:8]


LETTERS = "is not text of up to 100 letters, digits, '.', '_', ':' and '-' that begins with one of the first two"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": None}, "subscription number 1: id is missing"),
        ({"id": 5}, f"subscription number 1: id {LETTERS}"),
        ({"id": ""}, f"subscription number 1: id {LETTERS}"),
        ({"id": "a b"}, f"subscription number 1: id {LETTERS}"),
        ({"id": "a#b"}, f"subscription number 1: id {LETTERS}"),
        ({"id": "-a"}, f"subscription number 1: id {LETTERS}"),
        ({"id": "a" * 101}, f"subscription number 1: id {LETTERS}"),
        ({"product": None}, "subscription acme: product is missing"),
        ({"product": "acme"}, 'subscription acme: product is neither the number of a product nor "*"'),
        ({"product": -1}, 'subscription acme: product is neither the number of a product nor "*"'),
        ({"product": 1.5}, 'subscription acme: product is neither the number of a product nor "*"'),
        ({"product": True}, 'subscription acme: product is neither the number of a product nor "*"'),
        ({"product": "٣"}, 'subscription acme: product is neither the number of a product nor "*"'),
        ({"service": None}, "subscription acme: service is missing"),
        (
            {"service": "chatt"},
            "subscription acme: service chatt is not known; did you mean chat? "
            "(available: chat, fussy, grumpy, mail, webhook)",
        ),
        ({"service": "x"}, "subscription acme: service x is not known (available: chat, fussy, grumpy, mail, webhook)"),
        ({"service": ["chat"]}, "subscription acme: service is not the name of a service"),
        ({"service": "mail", "options": None}, "subscription acme: option host is missing"),
        (
            {"service": "fussy", "options": None},
            "subscription acme: service fussy cannot be made of its options: KeyError",
        ),
        (
            {"service": "grumpy", "options": None},
            "subscription acme: service grumpy cannot be made of its options: KeyError",
        ),
        ({"events": "*.*"}, "subscription acme: events is not a list of globs"),
        ({"events": []}, "subscription acme: events is not a list of globs"),
        (
            {"events": ["*.*", "created"]},
            "subscription acme: events has at [1] something else than a Model.action glob, "
            "as Item.created or *.created are",
        ),
        (
            {"events": [1.5]},
            "subscription acme: events has at [0] something else than a Model.action glob, "
            "as Item.created or *.created are",
        ),
        ({"order": "lane"}, "subscription acme: order is neither key nor none"),
        ({"order": False}, "subscription acme: order is neither key nor none"),
        ({"enabled": "maybe"}, "subscription acme: enabled is neither true nor false"),
        ({"enabled": 1}, "subscription acme: enabled is neither true nor false"),
        ({"event": []}, "subscription acme: event is not a field of a subscription; did you mean events?"),
        (
            {"url": "http://a"},
            "subscription acme: url is not a field of a subscription, "
            "which has id, product, service, events, options, order, enabled",
        ),
        ({"options": None}, "subscription acme: option url is missing"),
        ({"options": []}, "subscription acme: options is not a mapping"),
        ({"options": {"url": "x"}}, "subscription acme: option url is wrong: not an http or https address with a host"),
        (
            {"options": {"url": "http://a", "tokn": "x"}},
            "subscription acme: option tokn is not an option of this service; did you mean token?",
        ),
        (
            {"options": {"url": "http://a", "tags": {"a": ["b", 1]}}},
            "subscription acme: option tags.a[1] is wrong: input should be a valid string",
        ),
        (
            {"options": {"url": "${ACME_URL}"}},
            "subscription acme: option url needs the environment variable ACME_URL, which is not set",
        ),
        (
            {"options": {"url": "http://a", "tags": {"a": ["b", "${C}"]}}},
            "subscription acme: option tags.a[1] needs the environment variable C, which is not set",
        ),
        (
            {"options": {"url": "http://a/${}"}},
            "subscription acme: option url has a ${ without a name and }; a plain ${ is written $${",
        ),
        (
            {"options": {"url": "http://a/${A-B}"}},
            "subscription acme: option url has a ${ without a name and }; a plain ${ is written $${",
        ),
        (
            {"service": "webhook", "options": {"urls": ["http://a", "b"]}},
            "subscription acme: option urls[1] is wrong: not an http or https address with a host",
        ),
        (
            {"service": "webhook", "options": {"urls": ["http://a", "${B}"]}},
            "subscription acme: option urls[1] needs the environment variable B, which is not set",
        ),
    ],
)
def test_a_problem_names_subscription_and_field(changes: dict[str, object], expected: str) -> None:
    changed = entry(**changes)
    assert problems(text_of(changed)) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is not a mapping with the key subscriptions"),
        ("- a", "the file is not a mapping with the key subscriptions"),
        ("subscription: []", "the file is not a mapping with the key subscriptions"),
        ("subscriptions:", "subscriptions is not a list"),
        ("subscriptions: {a: 1}", "subscriptions is not a list"),
        ("subscriptions: [5]", "subscription number 1: it is not a mapping"),
        ("subscriptions: []\nversion: 1", "version is not a key of this file, which has subscriptions"),
        ("subscriptions: [", "line 2, column 1: not YAML: did not find expected node content"),
        (
            "subscriptions:\n  - product: *\n",
            "line 2, column 15: not YAML: did not find expected alphabetic or numeric character "
            '(a product of * is written in quotes: "*")',
        ),
        ("subscriptions: []\nsubscriptions: []", "line 2: the key subscriptions stood already on line 1"),
        ("subscriptions: []\n---\na: 1", "line 2, column 1: not YAML: but found another document"),
        ("a: &b c", "line 1: anchors and aliases (& and *) are not allowed; text is put in quotes"),
        ("subscriptions: [*b]", "line 1: anchors and aliases (& and *) are not allowed; text is put in quotes"),
        ("subscriptions: [!!python/name:os.system x]", "line 1: tags (!) are not allowed; text is put in quotes"),
        ("subscriptions:\n- \0", "line 2: a control character stands in the text"),
        ("subscriptions: [0x_]", "a value looks like a number and is none: text is put in quotes"),
        ("? [a]\n: 1", "line 1, column 3: not YAML: found unhashable key"),
        (f"subscriptions: {'[' * 30}{']' * 30}", "line 1: nested deeper than 20 levels"),
        (f"subscriptions:\n{'- ' * 5000}a", "line 2: nested deeper than 20 levels"),
    ],
)
def test_a_problem_of_the_file_names_its_line(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_a_key_that_stands_twice_is_found_at_any_depth() -> None:
    text = """\
        subscriptions:
          - id: acme
            product: 1
            product: 2
            service: chat
            options: {url: "http://a", url: "http://b"}
        """
    assert problems(text) == [
        "line 4: the key product stood already on line 3",
        "line 6: the key url stood already on line 6",
    ]


def test_an_id_that_stands_twice_names_the_first() -> None:
    assert problems(text_of(entry(), entry(id="b"), entry())) == [
        "subscription acme: id is already that of subscription number 1"
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = text_of(
        entry(product="x", options={"url": "${A}", "token": 5, "x": 1}),
        entry(id="good"),
        entry(id=None, service="nope", order="x"),
    )
    assert problems(text + "\nversion: 2") == [
        "version is not a key of this file, which has subscriptions",
        'subscription acme: product is neither the number of a product nor "*"',
        "subscription acme: option url needs the environment variable A, which is not set",
        "subscription acme: option token is wrong: input should be a valid string",
        "subscription acme: option x is not an option of this service, which has tags, token, url",
        "subscription number 3: id is missing",
        "subscription number 3: service nope is not known (available: chat, fussy, grumpy, mail, webhook)",
        "subscription number 3: order is neither key nor none",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"url": "${A}"}},
        {"options": {"url": "http://a", "tokn": "${A}"}},
        {"options": {"url": "http://a", "tags": "${A}"}},
        {"options": {"url": "http://a", "tags": {"a": ["${B}", "${A}"]}}},
        {"service": "webhook", "options": {"urls": ["http://${A}", "http://${A}"]}},
        {"service": "webhook", "options": {"urls": "http://a", "secret": "${A}"}},
        {"service": "fussy", "options": {}},
        {"service": ["${A}", "t0ps3cret"]},
        {"product": "t0ps3cret"},
        {"events": ["t0ps3cret"]},
    ],
)
def test_no_sentence_holds_a_value(changes: dict[str, object]) -> None:
    assert not any("t0ps3cret" in problem for problem in problems(text_of(entry(**changes)), A="t0ps3cret"))


def test_a_subscription_prints_without_its_secrets() -> None:
    [found] = read(text_of(entry(options={"url": "http://a/t0ps3cret", "token": "t0ps3cret"})))
    assert "t0ps3cret" not in f"{found} {found!r} {found.service.options}"


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert set(problems(bomb)) == {
        f"line {line}: anchors and aliases (& and *) are not allowed; text is put in quotes" for line in range(1, 10)
    }


def test_a_file_is_read_with_the_services_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "subs.yaml"
    path.write_text(text_of(entry(service="webhook", options={"urls": "http://ä.example/"})), encoding="utf-8")
    [found] = load_subscriptions(path, {})
    assert isinstance(found.service, Webhook)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.yaml", "there is no such subscriptions file; SPRINTLY_SUBSCRIPTIONS says which one is read"),
        ("folder", "the subscriptions file cannot be read: Is a directory"),
        ("latin1.yaml", "the subscriptions file is not UTF-8 text"),
        ("empty.yaml", "the file is not a mapping with the key subscriptions"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin1.yaml").write_bytes(b"# \xe4")
    (tmp_path / "empty.yaml").write_bytes(b"")
    with pytest.raises(ConfigurationError) as caught:
        load_subscriptions(tmp_path / name, {}, SERVICES)
    assert str(caught.value) == f"{tmp_path / name}: {expected}"


# Files that are made to do harm


LAUGHS = "".join(f"{name}: &{name} [*{before}, *{before}]\n" for before, name in pairwise("abcdefghij"))
BOMBS = {
    "a billion laughs": (f"a: &a [ha, ha]\n{LAUGHS}", "line 1: anchors and aliases"),
    "nested brackets": ("[" * 100_000, "nest"),
    "nested braces": ("{a: " * 100_000, "line 1: nested deeper than 20 levels"),
    "nested dashes": ("- " * 100_000, "line 1: nested deeper than 20 levels"),
    "nested questions": ("? " * 100_000, "line 1: nested deeper than 20 levels"),
    "a function to call": ('!!python/object/apply:os.system ["true"]', "line 1: tags (!) are not allowed"),
    "a huge key": (f'{{? "{"k" * 900_000}" : 1, subscriptions: []}}', "kkk... is not a key of this file"),
    "a key that commands the terminal": ('{"\\e[31m": 1, subscriptions: []}', "\ufffd[31m is not a key of this file"),
    "a huge service": (
        f"subscriptions: [{{id: a, product: 1, service: {'s' * 900_000}, options: {{}}}}]",
        "sss... is not known",
    ),
    "a huge option": (f"subscriptions: [{{id: a, product: 1, service: chat, options: {{{'o' * 900}: 1}}}}]", "ooo..."),
    "keys to merge": ("subscriptions: [{<<: {id: a}}]", "<< is not a field of a subscription"),
    "a number of many digits": (f"subscriptions: [{'9' * 500_000}]", "looks like a number and is none"),
    "a number to the base of 60": (f"subscriptions: [{'59:' * 300_000}59]", "subscription number 1"),
    "a broken number to the base of 60": (f"subscriptions: [{'59:' * 300_000}59.5]", "subscription number 1"),
    "too many values": ("subscriptions: [" + "[]," * MOST, "line 1: more than 2,000,000 values up to here"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_short_sentences(bomb: str) -> None:
    text, expected = BOMBS[bomb]
    found = problems(text)
    assert expected in "\n".join(found)
    assert max(map(len, found)) < 300


@pytest.mark.parametrize("content", [b"subscriptions: \xff", "subscriptions: []".encode("utf-16")])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load_subscriptions(path, {}, SERVICES)


@pytest.mark.parametrize("size", [100_000_000, None])
def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path, size: int | None) -> None:
    path = Path("/dev/zero")
    if size:
        with (path := tmp_path / "s.yaml").open("wb") as file:
            file.truncate(size)
    with pytest.raises(ConfigurationError, match=r"the subscriptions file is larger than 32 MiB"):
        load_subscriptions(path, {}, SERVICES)


def test_of_very_many_problems_the_first_are_told_and_the_others_counted() -> None:
    found = problems("subscriptions:\n" + "- 5\n" * 100_000)
    assert found[0] == "subscription number 1: it is not a mapping"
    assert found[99:] == ["subscription number 100: it is not a mapping", "and 99,900 more problems"]


def test_very_many_subscriptions_are_read_and_garbage_is_collected_afterwards() -> None:
    line = '- {{id: s{0}, product: {0}, service: chat, options: {{url: "https://a.example/{0}"}}}}\n'
    found = read("subscriptions:\n" + "".join(map(line.format, range(10_000))))
    assert (len(found), found[-1].id, found[-1].product) == (10_000, "s9999", 9999)
    assert gc.isenabled()
