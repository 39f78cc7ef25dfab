"""What is said of rights that are missing and of clients that are not let in; and that it holds no secret."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from consumer.broker.access import ClientLog, Right, Witness, denied, masked, opened
from consumer.errors import BrokerUnreachable, ConfigurationError, LoginRefused

CONFIG = {"bootstrap.servers": "kafka:9092", "security.protocol": "SSL", "sasl.password": "s3cret", "retries": 3}
NOBODY = KafkaError(KafkaError._TRANSPORT, "Failed to get metadata")


def test_a_right_says_how_it_is_given() -> None:
    assert Right(("Read", "Write"), "topic", ("a", "b")).lacking() == (
        "Kafka does not allow this client Read and Write on topic a, b; `kafka-acls.sh --bootstrap-server ... --add"
        " --allow-principal User:... --operation Read --operation Write --topic a --topic b` allows it"
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Write on topic t;"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "Write on topic t;"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "Read on group g;"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "Write on transactional-id g-replica-*;"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, None),
    ],
)
def test_an_error_names_the_right_that_it_is_about(code: int, said: str | None) -> None:
    sentence = denied(KafkaError(code), ("t",), ("Write",), group="g", writer=("g-replica-", True))
    assert sentence is None if said is None else said in (sentence or "")


def test_what_is_not_known_is_not_named() -> None:
    assert denied(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), ("t",)) is None
    assert denied(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)) is None


def test_values_are_masked_the_short_ones_as_words() -> None:
    config = CONFIG | {"sasl.username": "me", "ssl.key.password": "long-enough"}
    assert masked("me and some: xlong-enoughx s3cret SSL 3 kafka:9092", config) == (
        "*** and some: x***x *** SSL 3 kafka:9092"
    )


def test_a_client_that_does_not_take_its_properties_is_a_wrong_setting_without_the_value() -> None:
    with pytest.raises(ConfigurationError, match=r'^SPRINTLY_KAFKA: .*"\*\*\*" .*"security.protocol"$'):
        opened(AdminClient, CONFIG | {"security.protocol": "s3cret"})


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (KafkaError._AUTHENTICATION, "sasl_ssl://kafka:9092/bootstrap: bad s3cret (after 3ms in state AUTH_REQ)"),
        (KafkaError._SSL, "SSL handshake failed"),
        (KafkaError._TRANSPORT, "tlsv13 alert certificate required: SSL alert number 116"),
    ],
)
def test_who_is_refused_need_not_wait(code: int, text: str) -> None:
    witness = Witness(CONFIG, "kafka:9092")
    witness.note(KafkaError(code, text))
    witness.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    error = witness.no_answer(2.0, NOBODY)
    assert isinstance(error, LoginRefused)
    assert str(error).startswith("Kafka at kafka:9092 and this client do not accept each other: ")
    assert "s3cret" not in str(error)
    assert "after" not in str(error)


def test_who_is_hung_up_on_may_have_come_to_a_broker_that_expects_tls() -> None:
    witness = Witness(CONFIG, "kafka:9092")
    assert "Failed to get metadata" in str(witness.no_answer(2.0, NOBODY))
    witness.log(6, "%s", "FAIL: Disconnected: connection closed by peer (after 1ms in state APIVERSION_QUERY)")
    error = witness.no_answer(2.0, NOBODY)
    assert isinstance(error, BrokerUnreachable)
    assert "expects TLS" in str(error)


def test_the_log_has_no_secret_and_nothing_that_is_raised_as_well(caplog: pytest.LogCaptureFixture) -> None:
    log = ClientLog(CONFIG)
    log.log(logging.ERROR, "%s %s", "FAIL", "with s3cret")
    log.log(logging.CRITICAL, "%s %s", "FATAL", "it is raised")
    assert [record.getMessage() for record in caplog.records] == ["FAIL with ***"]


@pytest.mark.parametrize(
    "told",
    [
        "ssl://kafka:9092/bootstrap: Disconnected: SSL connection closed by peer (after 4ms in state SSL_HANDSHAKE)",
        "ssl://kafka:9092/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?"
        " (after 4ms in state SSL_HANDSHAKE)",
    ],
)
def test_a_broker_without_tls_is_supposed_in_whichever_way_it_ends_the_connection(told: str) -> None:
    witness = Witness(CONFIG, "kafka:9092")
    witness.note(KafkaError(KafkaError._TRANSPORT, told))
    assert "connecting to a PLAINTEXT broker listener?" in str(witness.no_answer(5, NOBODY))
