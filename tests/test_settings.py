"""Settings: what the environment and a file may say, and the sentence for what they may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivers import certificate

from consumer.errors import ConfigurationError
from consumer.settings import Settings, unknown_variables
from consumer.settings.properties import REFUSED, read_properties
from consumer.settings.values import (
    Address,
    KafkaTopic,
    Keys,
    read_duration,
    read_listener,
    read_networks,
    read_servers,
    read_size,
    write_duration,
    write_listener,
    write_networks,
    write_size,
)


def problems(environ: dict[str, str], config: Path | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load(environ, config)
    return list(raised.value.problems)


def toml(folder: Path, text: str) -> Path:
    path = folder / "sprintly.toml"
    path.write_text(text, encoding="utf-8")
    return path


# -- where values come from


def test_nothing_given_is_the_defaults() -> None:
    assert Settings.load({}) == Settings()
    assert all(setting.is_default for setting in Settings().describe())


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINTLY_TOPIC", "stray")
    assert Settings.load({}).topic == "sprintly.events"


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    config = toml(tmp_path, 'topic = "from.file"\ngroup_id = "from-file"\nquick_attempts = 5\n')
    settings = Settings.load({"SPRINTLY_TOPIC": "from.environment"}, config)
    assert (settings.topic, settings.group_id, settings.quick_attempts) == ("from.environment", "from-file", 5)
    assert settings.max_in_hand == 4096


def test_a_file_may_use_numbers_lists_and_tables(tmp_path: Path) -> None:
    config = toml(
        tmp_path,
        'attempt_timeout = 20\negress_allow = ["10.0.0.0/8", "::1"]\n'
        '[kafka]\n"sasl.username" = "me"\nssl.ca.location = "ca.pem"\n',
    )
    settings = Settings.load({}, config)
    assert settings.attempt_timeout == 20.0
    assert settings.egress_allow == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert settings.kafka == {"sasl.username": "me", "ssl.ca.location": "ca.pem"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"topics = 'a'\n", "topics is not a setting: did you mean topic?"),
        (b"zebra = 1\n", "zebra is not a setting"),
        (b"topic = \n", "is not TOML: Invalid value (at line 1, column 9)"),
        (b"topic = '\xff'\n", "is not UTF-8"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, expected: str) -> None:
    config = tmp_path / "sprintly.toml"
    config.write_bytes(content)
    [problem] = problems({}, config)
    assert problem.startswith(str(config))
    assert problem.endswith(expected)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert problems({}, tmp_path / "none.toml") == [
        f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory"
    ]


def test_a_wrong_value_in_a_file_names_variable_key_and_file(tmp_path: Path) -> None:
    config = toml(tmp_path, "max_in_flight = 0\n")
    assert problems({}, config) == [
        f"SPRINTLY_MAX_IN_FLIGHT (max_in_flight in {config}): 0: not a whole number from 1 to 999999999"
    ]


# -- wrong values


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ATTEMPT_TIMEOUT", "5 parsecs", "'5 parsecs': not a duration: "),
        ("ATTEMPT_TIMEOUT", "", "'': not a duration: "),
        ("ATTEMPT_TIMEOUT", "inf", "'inf': not a duration: "),
        ("ATTEMPT_TIMEOUT", "-1s", "'-1s': not a duration: "),
        ("CYCLE_INTERVAL", "0", "'0': must be more than 0 and at most 365d"),
        ("DRAIN_TIMEOUT", "366d", "'366d': must be more than 0 and at most 365d"),
        ("MAX_BUFFERED", "64 megs", "'64 megs': not a size: "),
        ("MAX_BUFFERED", "0.5", "'0.5': must be at least 1 byte"),
        ("MAX_IN_FLIGHT", "many", "'many': not a whole number"),
        ("MAX_IN_FLIGHT", "1.5", "'1.5': not a whole number"),
        ("BOOTSTRAP_SERVERS", "one:9092,,two", "'one:9092,,two': '' is not host:port"),
        ("BOOTSTRAP_SERVERS", "one:99999", "'one:99999': 'one:99999' is not host:port"),
        ("BOOTSTRAP_SERVERS", "one:1,joe:pass@two:9092", "'one:1,***@two:9092': '***@two:9092' is not host:port"),
        ("GROUP_ID", "  ", "'  ': must be a text that is not empty"),
        ("TOPIC", "a b", "'a b': not a topic's name: "),
        ("TOPIC", "..", "'..': not a topic's name: "),
        ("TOPIC", "t" * 242, f"'{'t' * 99}…: too long: the names that derive from it leave 241 characters"),
        ("SUBSCRIPTIONS", "", "'': must be a text that is not empty"),
        ("SUBSCRIPTIONS", "kafka:", "'kafka:': not a topic's name: "),
        ("SUBSCRIPTIONS", "kafka:a b", "'kafka:a b': not a topic's name: "),
        ("SUBSCRIPTIONS", "kafka:" + "t" * 250, f"'kafka:{'t' * 93}…: too long: Kafka takes 249 characters"),
        ("HTTP", "9464", "'9464': not host:port: "),
        ("HTTP", "::1:9464", "'::1:9464': not host:port: "),
        ("HTTP", "0.0.0.0:65536", "'0.0.0.0:65536': not host:port: "),
        ("EGRESS_ALLOW", "10.0.0.0/8,ten", "'10.0.0.0/8,ten': 'ten' is not a network in CIDR notation"),
        ("EGRESS_ALLOW", "10.0.0.1/8", "'10.0.0.1/8': '10.0.0.1/8' has bits set to the right of its prefix: write "),
        ("POISON_LIMIT", "0", "'0': not a whole number from 1 to 999999999, or off"),
        ("POISON_LIMIT", "on", "'on': not a whole number"),
        ("GROUP_PROTOCOL", "new", "'new': must be 'auto', 'consumer' or 'classic'"),
        ("LOG_LEVEL", "loud", "'loud': must be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_variable_and_value(variable: str, value: str, expected: str) -> None:
    [problem] = problems({f"SPRINTLY_{variable}": value})
    assert problem.startswith(f"SPRINTLY_{variable}: {expected}")


def test_all_wrong_values_are_told_at_once() -> None:
    named = {problem.partition(":")[0] for problem in problems({"SPRINTLY_HTTP": "x", "SPRINTLY_TOPIC": "?"})}
    assert named == {"SPRINTLY_HTTP", "SPRINTLY_TOPIC"}


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"CONNECT_TIMEOUT": "16s"}, "CONNECT_TIMEOUT: 16s is more than SPRINTLY_ATTEMPT_TIMEOUT (15s)"),
        ({"MAX_IN_FLIGHT": "10"}, "MAX_IN_FLIGHT_PER_SUBSCRIPTION: 1024 is more than SPRINTLY_MAX_IN_FLIGHT (10)"),
        ({"MAX_IN_HAND": "10"}, "MAX_IN_HAND_PER_PARTITION: 1000 is more than SPRINTLY_MAX_IN_HAND (10)"),
        ({"DRAIN_TIMEOUT": "4s"}, "REVOKE_TIMEOUT: 5s is more than SPRINTLY_DRAIN_TIMEOUT (4s)"),
        ({"CYCLE_INTERVAL": "3s"}, "CYCLE_STALL: must be longer than SPRINTLY_CYCLE_INTERVAL (3s)"),
        ({"CYCLE_BYTES": "1MB"}, "CYCLE_BYTES: must be at least 2MB, which one dead letter may need"),
        (
            {"TRANSACTION_TIMEOUT": "500ms"},
            "TRANSACTION_TIMEOUT: must be between 1s and 15m, which is what Kafka takes",
        ),
        ({"TRANSACTION_TIMEOUT": "16m"}, "TRANSACTION_TIMEOUT: must be between 1s and 15m, which is what Kafka takes"),
        (
            {"KAFKA": '{"session.timeout.ms": 6000}'},
            "KAFKA: session.timeout.ms is the broker's unless SPRINTLY_GROUP_PROTOCOL is classic",
        ),
        (
            {"TOPIC": "t", "SUBSCRIPTIONS": "kafka:t.control"},
            "SUBSCRIPTIONS: t.control is the topic for something else",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(given_: dict[str, str], expected: str) -> None:
    assert problems({f"SPRINTLY_{name}": value for name, value in given_.items()}) == [f"SPRINTLY_{expected}"]


def test_a_classic_group_may_set_its_session_timeout() -> None:
    environ = {"SPRINTLY_GROUP_PROTOCOL": "Classic", "SPRINTLY_KAFKA": '{"session.timeout.ms": 6000}'}
    assert Settings.load(environ).kafka == {"session.timeout.ms": 6000}


def test_unknown_variables_are_reported_with_what_was_meant() -> None:
    environ = dict.fromkeys(
        ["SPRINTLY_ATTEMT_TIMEOUT", "SPRINTLY_ZEBRA", "SPRINTLY_TOPIC", "SPRINTLY_TEST_BOOTSTRAP", "HOME"], "x"
    )
    environ["SPRINTLY_REQUIRE_KAFKA"] = "1"
    assert unknown_variables(environ) == [
        "SPRINTLY_ATTEMT_TIMEOUT is not a setting: did you mean SPRINTLY_ATTEMPT_TIMEOUT?",
        "SPRINTLY_ZEBRA is not a setting",
    ]


# -- Kafka's own properties


@pytest.mark.parametrize("name", [*REFUSED, "error_cb", "oauth_cb", "partitioner_cb", "test.mock.num.brokers"])
def test_a_property_that_would_break_a_guarantee_is_refused_by_name(name: str) -> None:
    [problem] = problems({"SPRINTLY_KAFKA": json.dumps({name: "planted"})})
    assert problem.startswith(f"SPRINTLY_KAFKA: {name} is refused: ")
    assert "planted" not in problem


@pytest.mark.parametrize(
    "value",
    [
        '{"sasl.password": ["planted"]}',
        '{"sasl.password": null, "x": "planted"}',
        '{"acks": 1, "sasl.password": "planted"}',
        '{"sasl.password": "planted"',
        '["planted"]',
        '"planted"',
        "planted",
        '{"a": ' * 100_000,
    ],
)
def test_no_sentence_about_kafka_holds_a_value(value: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({"SPRINTLY_KAFKA": value})
    assert str(raised.value).startswith("SPRINTLY_KAFKA: ")
    assert "planted" not in str(raised.value)
    assert raised.value.__context__ is None


def test_secrets_are_neither_in_the_description_nor_in_the_repr() -> None:
    settings = Settings.load({"SPRINTLY_KAFKA": '{"sasl.password": "planted"}'})
    [described] = [setting for setting in settings.describe() if setting.variable == "SPRINTLY_KAFKA"]
    assert described.value == '{"sasl.password": "***"}'
    assert "planted" not in repr(settings) + str(settings)
    assert settings.kafka["sasl.password"] == "planted"


# -- what they are like


def test_subscriptions_are_in_a_file_or_a_topic() -> None:
    file, topic = (
        Settings.load({"SPRINTLY_SUBSCRIPTIONS": text}) for text in ("a.yaml", "kafka:sprintly.subscriptions")
    )
    assert (file.subscriptions, topic.subscriptions) == (Path("a.yaml"), KafkaTopic("sprintly.subscriptions"))
    assert str(topic.subscriptions) == "kafka:sprintly.subscriptions"
    assert Settings.load({"SPRINTLY_SUBSCRIPTIONS": "kafka:" + "a" * 249}).subscriptions == KafkaTopic("a" * 249)


KEYS = [f"{letter * 43}=" for letter in "ABC"]


def test_keys_are_read_and_never_shown(tmp_path: Path) -> None:
    settings = Settings.load({"SPRINTLY_OPTIONS_KEY": f"{KEYS[0]}, {KEYS[1]},"})
    assert settings.options_key.keys == (KEYS[0], KEYS[1])
    (shown,) = [each for each in settings.describe() if each.variable == "SPRINTLY_OPTIONS_KEY"]
    assert (shown.value, shown.default) == ("***", "")
    assert not any(key in f"{settings!r}{settings}{settings.options_key!r}" for key in KEYS)
    assert Settings.load({"SPRINTLY_OPTIONS_KEY": ""}).options_key == Keys()
    assert Settings.load({}, toml(tmp_path, f"options_key = {KEYS}")).options_key == Keys(tuple(KEYS))


@pytest.mark.parametrize("wrong", ["planted", "A" * 44, KEYS[1][1:], KEYS[1][:-2] + "+=", KEYS[1] + "="])
def test_a_wrong_key_is_told_by_its_number(wrong: str) -> None:
    said = problems({"SPRINTLY_OPTIONS_KEY": f"{KEYS[0]},{wrong}"})
    made = "`openssl rand -base64 32 | tr /+ _-`"
    assert said == [f"SPRINTLY_OPTIONS_KEY: key number 2 is not 32 bytes in urlsafe base64, as {made} makes them"]


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.topic = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.kafka["acks"] = 1  # type: ignore[index]


def test_topics_derive_from_the_topic() -> None:
    settings = Settings.load({"SPRINTLY_TOPIC": "t"})
    derived = (settings.dead_letter_topic, settings.state_topic, settings.control_topic, settings.replay_topic)
    assert derived == ("t.dlq", "t.state", "t.control", "t.replay")


def test_every_setting_is_described() -> None:
    for setting in Settings().describe():
        assert setting.description.endswith("."), setting.variable


def test_the_described_value_sets_the_setting_again() -> None:
    settings = Settings.load(
        {
            "SPRINTLY_HTTP": "[::1]:0",
            "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8, ::1",
            "SPRINTLY_CYCLE_INTERVAL": "250ms",
            "SPRINTLY_MAX_BUFFERED": "1.5MiB",
            "SPRINTLY_POISON_LIMIT": "OFF",
            "SPRINTLY_DRAIN_TIMEOUT": "2m",
        }
    )
    environ = {setting.variable: setting.value for setting in settings.describe()}
    assert Settings.load(environ) == settings
    changed = {setting.variable: setting.value for setting in settings.describe() if not setting.is_default}
    assert changed == {
        "SPRINTLY_HTTP": "[::1]:0",
        "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
        "SPRINTLY_CYCLE_INTERVAL": "250ms",
        "SPRINTLY_MAX_BUFFERED": "1536KiB",
        "SPRINTLY_POISON_LIMIT": "off",
        "SPRINTLY_DRAIN_TIMEOUT": "2m",
    }


# -- reading and writing values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15.0), ("500ms", 0.5), ("5m", 300.0), ("2h", 7200.0), ("1d", 86400.0), ("1.5", 1.5), (" 3 S ", 3.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 67108864), ("8MB", 8000000), ("512kb", 512000), ("1GiB", 1073741824), ("10 B", 10), (4096, 4096)],
)
def test_sizes(text: Any, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("read", [read_duration, read_size])
def test_true_is_no_amount(read: Callable[[object], float]) -> None:
    with pytest.raises(ValueError, match="not a"):
        read(True)


def test_listeners() -> None:
    assert read_listener("0.0.0.0:9464") == Address("0.0.0.0", 9464)
    assert read_listener("[::]:0") == Address("::", 0)
    assert read_listener("OFF") is None
    assert write_listener(None) == "off"


def test_servers_may_have_a_protocol_or_no_port() -> None:
    assert read_servers("kafka, SASL_SSL://b:9093 ,[::1]:9092") == "kafka,SASL_SSL://b:9093,[::1]:9092"


def test_one_address_is_a_network_of_one_and_nothing_is_none() -> None:
    assert read_networks("127.0.0.1") == (ip_network("127.0.0.1/32"),)
    assert read_networks("") == ()


def test_no_properties_are_none() -> None:
    assert read_properties("") == {}


@given(st.integers(min_value=1, max_value=365 * 86_400_000).map(lambda milliseconds: milliseconds / 1000))
def test_a_written_duration_reads_as_the_same(seconds: float) -> None:
    assert read_duration(write_duration(seconds)) == pytest.approx(seconds, rel=1e-9)


@given(st.integers(min_value=1, max_value=2**50))
def test_a_written_size_reads_as_the_same(size: int) -> None:
    assert read_size(write_size(size)) == size


# IPv6 addresses that hold IPv4 ones are refused with what to write instead; test_egress.py has them.
plain = st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3")


@given(st.lists(plain.map(lambda address: ip_network(str(address)))))
def test_written_networks_read_as_the_same(networks: list[Any]) -> None:
    assert read_networks(write_networks(networks)) == tuple(networks)


def test_a_registry_address_keeps_its_credentials_to_itself() -> None:
    settings = Settings.load({"SPRINTLY_SCHEMA_REGISTRY_URL": "https://me:planted@registry:8081/apis/ccompat/v7/"})
    url = settings.schema_registry_url
    assert url is not None
    assert url.with_credentials == "https://me:planted@registry:8081/apis/ccompat/v7"
    assert str(url) == "https://***@registry:8081/apis/ccompat/v7"
    shown = [setting.value for setting in settings.describe()]
    assert str(url) in shown
    assert not any("planted" in text for text in [*shown, repr(settings), repr(url)])


@pytest.mark.parametrize("value", ["ftp://me:planted@host", "me:planted@host:80", "http://", "http://planted/?a=b"])
def test_what_is_no_registry_address_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.load({"SPRINTLY_SCHEMA_REGISTRY_URL": value})
    assert str(error.value).startswith("SPRINTLY_SCHEMA_REGISTRY_URL: not an http or https address")
    assert "planted" not in str(error.value)


def test_without_an_address_there_is_no_registry() -> None:
    assert Settings.load({"SPRINTLY_SCHEMA_REGISTRY_URL": ""}).schema_registry_url is None


def test_a_proxys_credentials_are_neither_described_nor_repeated() -> None:
    settings = Settings.load({"SPRINTLY_EGRESS_PROXY": "http://pat:hush-hush@proxy:3128"})
    [refused] = problems({"SPRINTLY_EGRESS_PROXY": "https://pat:hush-hush@proxy"})

    [shown] = [each.value for each in settings.describe() if each.variable == "SPRINTLY_EGRESS_PROXY"]
    assert shown == "http://***@proxy:3128"
    assert "hush" not in repr(settings) + refused
    assert refused.startswith("SPRINTLY_EGRESS_PROXY: not the address of an HTTP proxy")


@pytest.mark.parametrize("text", ["apprise, mine", "mine apprise", ["mine", "apprise"]])
def test_names_stand_between_commas_or_blanks(text: Any) -> None:
    assert Settings(egress_unguarded=text).egress_unguarded == {"apprise", "mine"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no certificates can be read: No such file or directory"),
        ("-----BEGIN", "it holds no certificate in PEM"),
    ],
)
def test_a_bundle_that_is_none_is_named(tmp_path: Path, content: str | None, reason: str) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)

    assert problems({"SPRINTLY_CA_BUNDLE": str(bundle)}) == [f"SPRINTLY_CA_BUNDLE: {str(bundle)!r}: {reason}"]


def test_a_bundle_is_looked_into(tmp_path: Path) -> None:
    bundle = certificate(tmp_path)

    assert Settings.load({"SPRINTLY_CA_BUNDLE": str(bundle)}).ca_bundle == bundle
