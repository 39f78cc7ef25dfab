"""What commands say when settings, subscriptions or services are wrong, or when they crash: never a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from installation import Installation
from planted import Garden

CLOSED = "127.0.0.1:1"  # a port where nothing listens

CRASHING = '''
"""Cannot be asked for its rate."""

from services import Field, Secret, ServiceBase, ServiceOptions


class Service(ServiceBase):
    """
    Crashing

    1. `token` is the token.
    """

    class Options(ServiceOptions):
        token: Secret = Field(description="The token.", examples=["example-token"])

    @property
    def rate(self):
        try:
            raise KeyError(self.options.token.get_secret_value())
        except KeyError as error:
            raise ValueError(f"no rate for {self.options.token.get_secret_value()}") from error

    def send(self, payload):
        """Send nothing."""
'''


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """An installation whose Kafka cannot be reached."""
    made = Installation(CLOSED, tmp_path)
    made.subscribe(hook="https://example.com/hooks")
    return made


def said(here: Installation, garden: Garden, *arguments: str, code: int, **environ: str) -> str:
    """Run a command that has to fail; returns what it said, which has to be free of all that is planted."""
    done = here.run(*arguments, **environ)
    assert done.returncode == code, done.stderr
    assert garden.found({"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}) == []
    return done.stderr


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_username": "u"}, 1),
        ({"no_such_property": "x"}, 2),
        ({"sasl_mechanism": "nonsense", "security_protocol": "SASL_SSL"}, 2),
        ({"ssl_key_pem": "nonsense", "security_protocol": "SSL"}, 2),
    ],
)
def test_passwords_of_kafka_are_in_no_message(here: Installation, given: dict[str, str], code: int) -> None:
    garden = Garden()
    given = {"sasl_password": garden.secret("password"), "ssl_key_password": garden.mark("key"), **given}
    kafka = json.dumps({name.replace("_", "."): value for name, value in given.items()})
    for arguments in (["topics", "create"], ["dlq", "list", "--json"]):
        assert "Traceback" not in said(here, garden, *arguments, code=code, SPRINTLY_KAFKA=kafka)


@pytest.mark.parametrize(
    "text", ['{{"sasl.password": "{}"', "sasl.password={}", '["{}"]', '{{"sasl.password": ["{}"]}}']
)
def test_what_is_no_object_of_properties_is_not_shown(here: Installation, text: str) -> None:
    garden = Garden()
    assert "SPRINTLY_KAFKA" in said(
        here, garden, "consume", code=2, SPRINTLY_KAFKA=text.format(garden.mark("password"))
    )


def test_credentials_of_addresses_in_settings_are_not_shown(here: Installation) -> None:
    garden = Garden()
    for name, address, code in (
        ("SPRINTLY_BOOTSTRAP_SERVERS", "user:{}@127.0.0.1:1", 2),
        ("SPRINTLY_SCHEMA_REGISTRY_URL", "http://user:{}@127.0.0.1:1/?x", 2),
        ("SPRINTLY_SCHEMA_REGISTRY_URL", "http://user:{}@127.0.0.1:1", 1),
    ):
        said(here, garden, "schemas", "show", code=code, **{name: address.format(garden.mark(name))})


def test_wrong_options_are_not_shown(here: Installation) -> None:
    garden = Garden()
    options = [
        ("slack", {"url": garden.secret("url")}),
        ("slack", {"url": [garden.url("https://127.0.0.1", "list")]}),
        ("slack", {"url": garden.url("ftp://127.0.0.1", "ftp"), "channel": [garden.mark("channel")]}),
        ("webhook", {"urls": [garden.url("https://127.0.0.1", "urls"), garden.mark("no address")]}),
        ("webhook", {"urls": garden.url("https://127.0.0.1", "urls"), "secret": garden.secret("signing key")}),
        ("email", {"host": garden.secret("host"), "password": garden.secret("password")}),
        ("apprise", {"urls": f"nonsense://{garden.mark('apprise')}"}),
        ("zulip", {"url": garden.url("https://127.0.0.1", "base"), "api_key": {"x": garden.mark("inside")}}),
        ("slack", garden.url("https://127.0.0.1", "no mapping")),
    ]
    entries = [
        {"id": f"s{n}", "product": "*", "service": name, "options": given} for n, (name, given) in enumerate(options)
    ]
    here.subscriptions.write_text(yaml.safe_dump({"subscriptions": entries}))
    for arguments in (["subscriptions", "check"], ["consume"]):
        assert said(here, garden, *arguments, code=2).count("subscription s") >= len(options)
    here.subscriptions.write_text(f"subscriptions:\n  - url: {garden.mark('YAML')}: @x\n    'y")
    said(here, garden, "consume", code=2)
