"""Options say of themselves what people need to know."""

from __future__ import annotations

from typing import Literal

from services import Field, Secret, ServiceOptions, described, get_available_services


class Options(ServiceOptions):
    room: int = Field(description="Which room.")
    token: Secret = Field(description="The key.")
    colour: Literal["green", "red"] = Field("green", description="Of the message.")
    nickname: str | None = Field(None, description="As whom.")


def test_each_option_has_its_type_in_words() -> None:
    assert [tuple(option) for option in described(Options)] == [
        ("room", "whole number", True, False, "Which room."),
        ("token", "text", True, True, "The key."),
        ("colour", "green or red", False, False, "Of the message."),
        ("nickname", "text", False, False, "As whom."),
    ]


def test_a_list_of_secret_addresses_is_one() -> None:
    urls, secret = described(get_available_services()["webhook"].Options)
    assert (urls.type, urls.required, urls.secret) == ("address, or a list of them", True, True)
    assert (secret.type, secret.required, secret.secret) == ("text, or a list of them", False, True)
