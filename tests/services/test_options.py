"""Options: what they accept, what their errors say, and that no secret shows anywhere."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, Literal

import pytest
from pydantic import ValidationError, field_validator

from services import Field, OptionsError, Secret, SecretUrl, SecretUrls, ServiceBase, ServiceOptions


class Service(ServiceBase):
    """
    Example

    Instructions.
    """

    name = "example"

    class Options(ServiceOptions):
        url: SecretUrl
        urls: SecretUrls = ()
        token: Secret | None = None
        limit: int = Field(5, ge=1)
        style: Literal["short", "long"] = "short"

        @field_validator("token")
        @classmethod
        def _not_mine(cls, token: Secret | None) -> Secret | None:
            if token is not None and token.get_secret_value().startswith("t0ps3cret"):
                raise ValueError(f"{token} is too well known")
            return token

    def send(self, payload: dict[str, Any]) -> None:
        self.session.post(self.options.url, json=payload)


class Inner(ServiceOptions):
    password: Secret


class Deep(ServiceBase):
    class Options(ServiceOptions):
        inner: Inner
        headers: dict[str, list[Secret]]


def problems(options: Any) -> list[tuple[str, str]]:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    return caught.value.problems


@pytest.mark.parametrize(
    "url", ["http://a", "https://a.example:8443/x?y=z#f", "HTTPS://A/", "http://[::1]:8/", "http://ü.example/ö"]
)
def test_an_address_is_taken_as_it_is(url: str) -> None:
    assert SecretUrl(url).get_secret_value() == url
    assert Service({"url": url}).options.url == SecretUrl(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "//a/",
        "ftp://a/",
        "http://",
        "http:///path",
        "http://:80/",
        "http://[/",
        "http://a:99999/",
        "file:///x",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    assert problems({"url": url}) == [("url", "is wrong: not an http or https address with a host")]


@pytest.mark.parametrize("character", [" ", "\n", "\t", "\r", "\x00", "\x7f", "\u00a0", "\u2028", "\\"])
def test_what_parsers_read_differently_is_refused(character: str) -> None:
    sentence = "is wrong: white space, a control character or a backslash stands in the address"
    assert problems({"url": f"http://a{character}b/"}) == [("url", sentence)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("url", "is missing")]),
        ({"url": None}, [("url", "is wrong: not text")]),
        ({"url": ["http://a"]}, [("url", "is wrong: not text")]),
        ({"url": "http://a", "tokn": "x"}, [("tokn", "is not an option of this service; did you mean token?")]),
        (
            {"url": "http://a", "colour": "x"},
            [("colour", "is not an option of this service, which has limit, style, token, url, urls")],
        ),
        ({"url": "http://a", "limit": 0}, [("limit", "is wrong: input should be greater than or equal to 1")]),
        ({"url": "http://a", "style": "x"}, [("style", "is wrong: input should be 'short' or 'long'")]),
        ({"url": "http://a", "token": 5}, [("token", "is wrong: input should be a valid string")]),
        ({"url": "http://a", "urls": []}, [("urls", "is wrong: neither an address nor a list of addresses")]),
        ({"url": "http://a", "urls": {}}, [("urls", "is wrong: neither an address nor a list of addresses")]),
        (
            {"url": "http://a", "urls": ["http://a", "b"]},
            [("urls[1]", "is wrong: not an http or https address with a host")],
        ),
        (
            {"url": "http://a", "urls": ["http://a", "http://b", "http://a"]},
            [("urls", "is wrong: numbers 1 and 3 are the same address")],
        ),
        (["http://a"], [("options", "is not a mapping")]),
    ],
)
def test_problems_name_the_option(options: Any, expected: list[tuple[str, str]]) -> None:
    assert problems(options) == expected


def test_all_problems_come_at_once_in_one_text() -> None:
    with pytest.raises(OptionsError, match=r"^example: url is missing; limit is wrong: .*; colour is not an option"):
        Service({"limit": -1, "colour": "red"})


def test_one_address_or_many_become_a_tuple() -> None:
    urls = (SecretUrl("http://a"), SecretUrl("http://b"))
    assert Service({"url": "http://a", "urls": "http://a"}).options.urls == urls[:1]
    assert Service({"url": "http://a", "urls": ["http://a", "http://b"]}).options.urls == urls


def test_options_that_were_read_once_are_used_as_they_are() -> None:
    options = Service.Options(url=SecretUrl("http://a"))
    assert Service(options).options is options


def test_options_do_not_change_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Service({"url": "http://a"}).options.limit = 9


def test_a_service_without_options_takes_none() -> None:
    class Plain(ServiceBase):
        name = "plain"

    with pytest.raises(OptionsError, match="plain: url is not an option of this service, which has none"):
        Plain({"url": "http://a"})


def test_no_secret_shows() -> None:
    service = Service({"url": "http://a/t0ps3cret", "urls": ["http://b/t0ps3cret"], "token": "my t0ps3cret"})
    options = service.options
    for text in (str(options), repr(options), f"{options}", options.model_dump_json()):
        assert "t0ps3cret" not in text
    for secret in (options.url, options.urls[0], options.token):
        assert "t0ps3cret" not in f"{secret} {secret!r} {vars(service)}"
        assert secret.get_secret_value().endswith("t0ps3cret")
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize(
    "options",
    [
        {"url": "t0ps3cret"},
        {"url": "http://a b/t0ps3cret"},
        {"url": "http://a:t0ps3cret/"},
        {"url": ["t0ps3cret"]},
        {"url": {"t0ps3cret": 1}},
        {"url": "http://a", "urls": "t0ps3cret"},
        {"url": "http://a", "urls": ["t0ps3cret"]},
        {"url": "http://a", "urls": ["http://t0ps3cret", "http://t0ps3cret"]},
        {"url": "http://a", "token": "t0ps3cret-and-more"},
        {"url": "http://a", "token": ["t0ps3cret"]},
        {"url": "http://a", "limit": "t0ps3cret"},
        {"url": "http://a", "style": "t0ps3cret"},
        {"url": "http://a", "colour": "t0ps3cret"},
        "t0ps3cret",
    ],
)
def test_no_error_shows_a_value(options: Any) -> None:
    with pytest.raises(OptionsError) as caught:
        Service(options)
    assert "t0ps3cret" not in "".join(traceback.TracebackException.from_exception(caught.value).format(chain=True))
    assert "t0ps3cret" not in repr(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("for url: http://a/t0ps3cret?x=%20y", "for url: **********"),
        ("no way to /t0ps3cret?x=%20y from here", "no way to ********** from here"),
        ("http%3A%2F%2Fa%2Ft0ps3cret%3Fx%3D%2520y", "**********"),
        ("the token to ken/1 or to%20ken/1 or to%20ken%2F1", "the token ********** or ********** or **********"),
        ("b answered: /second, http://b/", "b answered: **********, http://b/"),
        ("abc / limit 5", "abc / limit 5"),
    ],
)
def test_secrets_are_masked_in_what_others_say(text: str, expected: str) -> None:
    urls = ["http://b/second", "http://c/"]
    service = Service({"url": "http://a/t0ps3cret?x=%20y", "urls": urls, "token": "to ken/1"})
    assert service.redact(text) == expected


def test_what_is_too_short_to_be_a_secret_is_left() -> None:
    assert Service({"url": "http://a", "token": "abc"}).redact("abc abcd") == "abc abcd"


def test_secrets_are_found_at_any_depth() -> None:
    service = Deep({"inner": {"password": "swordfish"}, "headers": {"x": ["mellon"]}})
    assert service.redact("swordfish, mellon, x") == "**********, **********, x"
    assert ServiceBase({}).redact("anything") == "anything"
