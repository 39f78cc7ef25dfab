"""A Kafka with TLS, logins and ACLs: what docs/kafka-security.md says is enough, and with any less it is said what.

One broker for all; it knows only the rights of that page, given by the page's own commands.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from installation import Installation, eventually
from kafka import REQUIRED, KafkaUnavailable
from receivers import Receiver, Reply
from secured import CLIENT, SECRET, Authority, Secured, secured_kafka
from sequences import event

PAGE = (Path(__file__).parents[2] / "docs/kafka-security.md").read_text("utf-8")
CONSUMER, OPERATOR, PRODUCER = "sprintly-consumer", "sprintly-operator", "sprintly-producer"


class House:
    """An installation on the secured broker, with users who have the rights of the page."""

    def __init__(self, broker: Secured, folder: Path) -> None:
        self.broker = broker
        self.installation = Installation(broker.container.bootstrap, folder)
        self.foreign = Authority(folder, "foreign")
        for user in (CONSUMER, OPERATOR, PRODUCER):
            broker.add_user(user)
        broker.authority.issue(CONSUMER)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._grant, commands()))
        done = self.run(OPERATOR, "topics", "create", "--partitions", "2")
        assert done.returncode == 0, done.stderr

    def named(self, text: str) -> str:
        """Text of the page with this installation's names."""
        return text.replace("sprintly.events", self.installation.topic).replace(
            "sprintly-services", self.installation.group
        )

    def _grant(self, command: str) -> None:
        name, *words = shlex.split(self.named(command))
        assert name == "kafka-acls.sh"
        for option in ("--bootstrap-server", "--command-config"):  # the tool runs beside the broker, as its super user
            at = words.index(option)
            del words[at : at + 2]
        self.broker.container.tool("AclCommand", *words)

    def environ(self, listener: str = "SCRAM", user: str = CONSUMER, **properties: str | None) -> dict[str, str]:
        """The settings of the page for a listener, with what is true here; `properties` are changed, None is left out.

        Their names are written with "_" for ".".
        """
        secrets = self.broker.authority.path.parent
        here = {
            "ssl.ca.location": str(self.broker.authority.path),
            "ssl.certificate.location": str(secrets / f"{CONSUMER}.pem"),
            "ssl.key.location": str(secrets / f"{CONSUMER}.key"),
            "sasl.username": user,
            "sasl.password": self.broker.passwords[user],
            "sasl.oauthbearer.token.endpoint.url": self.broker.issuer.url,
            "sasl.oauthbearer.client.id": CLIENT,
            "sasl.oauthbearer.client.secret": SECRET,
        }
        made: dict[str, str | None] = {name: here.get(name, value) for name, value in example(listener).items()}
        made |= {name.replace("_", "."): value for name, value in properties.items()}
        given = {name: value for name, value in made.items() if value is not None}
        return {"SPRINTLY_BOOTSTRAP_SERVERS": self.broker.address(listener), "SPRINTLY_KAFKA": json.dumps(given)}

    def run(self, user: str, *arguments: str, input: str = "") -> Any:
        return self.installation.run(*arguments, input=input, **self.environ(user=user))

    def do(self, user: str, *arguments: str, input: str = "") -> str:
        done = self.run(user, *arguments, input=input)
        assert (done.returncode, done.stderr) == (0, "")
        text: str = done.stdout
        return text

    def produce(self, *numbers: int) -> None:
        lines = "\n".join(json.dumps(event(number)) for number in numbers)
        assert len(json.loads(self.do(PRODUCER, "produce", "--json", "-", input=lines))) == len(numbers)

    def rights(self, user: str) -> list[AclBinding]:
        """Every right that a user has."""
        everything: tuple[Any, ...] = (ResourceType.ANY, None, ResourcePatternType.ANY)
        of_user: tuple[Any, ...] = (f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY)
        any_of_it = AclBindingFilter(*everything, *of_user)
        admin = self.broker.admin
        found: list[AclBinding] = admin.describe_acls(any_of_it).result()
        return found

    def give(self, right: AclBinding) -> None:
        admin = self.broker.admin
        for future in admin.create_acls([right]).values():
            future.result()

    def take(self, right: AclBinding) -> None:
        exactly = AclBindingFilter(
            right.restype,
            right.name,
            right.resource_pattern_type,
            right.principal,
            right.host,
            right.operation,
            right.permission_type,
        )
        admin = self.broker.admin
        for future in admin.delete_acls([exactly]).values():
            assert len(future.result()) == 1

    def secrets(self) -> set[str]:
        """What must never be said."""
        return {*self.broker.passwords.values(), SECRET, "wrong-password-4711"}


def commands() -> list[str]:
    """The commands of the page, each in one line."""
    text = re.sub(r"\\\n\s*", "", PAGE)
    return re.findall(r"^    (kafka-acls\.sh .*)$", text, re.MULTILINE)


def example(listener: str) -> dict[str, str]:
    """The properties that the page gives for a listener of the broker's."""
    of = {"SCRAM": "SCRAM-SHA-512", "OAUTH": "OAUTHBEARER", "MTLS": "ssl.key.location"}[listener]
    found = [json.loads(text) for text in re.findall(r"SPRINTLY_KAFKA='(\{.*?\})'", PAGE, re.DOTALL)]
    (properties,) = (each for each in found if of in {*each, *each.values()})
    given: dict[str, str] = properties
    return given


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(secured_kafka(tmp_path_factory.mktemp("secured"), CONSUMER))
        except KafkaUnavailable as error:
            (pytest.fail if REQUIRED else pytest.skip)(f"needs a Kafka of its own: {error}")
        yield broker


@pytest.fixture(scope="module")
def house(own_kafka: Secured) -> House:
    return House(own_kafka, own_kafka.folder)


def told(right: Any) -> str:
    """What is said of a right that is missing, up to the command."""
    operation = right.operation.name.title().replace("_", "")
    star = "*" if right.resource_pattern_type == ResourcePatternType.PREFIXED else ""
    return f"{operation} on {right.restype.name.lower().replace('_', '-')} {right.name}{star}; `kafka-acls.sh "


def test_a_replica_and_an_operator_need_no_more_than_the_page_says(house: House) -> None:
    with Receiver() as good, Receiver([Reply(400), Reply(204)]) as bad:
        house.installation.subscribe(good=good.url, bad=bad.url)
        with house.installation.consuming(**house.environ()) as replica:
            replica.wait_until_ready()
            house.produce(1, 2)
            good.wait_for(2, 60)
            eventually(lambda: house.installation.finished(2), "offsets are not committed", replica)
            letters = json.loads(house.do(OPERATOR, "dlq", "list", "--json"))
            assert [letter["reason"] for letter in letters] == ["permanent"]
            house.do(OPERATOR, "dlq", "replay")
            bad.wait_for(3, 60)
            house.do(OPERATOR, "subscriptions", "disable", "bad")
            house.produce(3)
            good.wait_for(3, 60)

            def owed() -> list[dict[str, Any]]:
                rows: list[dict[str, Any]] = json.loads(house.do(OPERATOR, "deliveries", "owed", "--json"))
                return rows

            eventually(lambda: [row["subscription"] for row in owed()] == ["bad"], "it is owed nothing", replica)
            house.do(OPERATOR, "subscriptions", "enable", "bad")
            bad.wait_for(4, 60)
            house.do(OPERATOR, "subscriptions", "backfill", "good", "--since", "1h")
            good.wait_for(6, 60)
            house.do(OPERATOR, "topics", "grow", "--partitions", "3")
            assert '{"ok": true' in replica.get("/readyz")
            assert replica.stop() == 0
        assert "does not allow" not in replica.text
        assert not [secret for secret in house.secrets() if secret in replica.text]


def test_each_right_of_consume_is_named_where_it_is_missing(house: House) -> None:
    house.installation.subscribe()
    rights = house.rights(CONSUMER)
    assert len(rights) == 11
    for right in rights:
        house.take(right)
        try:
            with house.installation.consuming(**house.environ()) as replica:
                eventually(
                    lambda: told(right) in replica.reasons().get("kafka", ""),  # noqa: B023
                    f"it does not say that it lacks {told(right)}",
                    replica,
                )
                eventually(lambda: told(right) in replica.text, "it does not log it", replica)  # noqa: B023
        finally:
            house.give(right)


def test_all_that_is_missing_is_named_at_once_and_waited_for(house: House) -> None:
    house.installation.subscribe()
    rights = [right for right in house.rights(CONSUMER) if right.restype is not ResourceType.TRANSACTIONAL_ID]
    for right in rights:
        house.take(right)
    try:
        with house.installation.consuming(**house.environ()) as replica:
            eventually(lambda: replica.reasons().get("kafka"), "it does not say what is missing", replica)
            reason = replica.reasons()["kafka"]
            assert reason.count("; `kafka-acls.sh") == 6  # five topics and a group
            assert "topics create" not in reason
            for right in rights:
                house.give(right)
            replica.wait_until_ready()
            eventually(lambda: not replica.reasons(), "it is not ready", replica)
            assert replica.stop() == 0
    finally:
        for right in rights:
            house.give(right)


def test_a_right_that_is_taken_away_while_it_runs_is_named_until_it_is_back(house: House) -> None:
    topic = house.installation.topic
    (right,) = (
        right for right in house.rights(CONSUMER) if right.name == topic and right.operation is AclOperation.READ
    )
    with Receiver() as receiver:
        house.installation.subscribe(hook=receiver.url)
        with house.installation.consuming(**house.environ()) as replica:
            replica.wait_until_ready()
            eventually(lambda: not replica.reasons(), "it is not ready", replica)
            eventually(lambda: "partitions taken over" in replica.text, "it does not take over", replica)
            house.take(right)
            try:
                house.produce(7)
                said = f"Read on topic {topic};"
                eventually(lambda: said in replica.reasons().get("kafka", ""), "it does not say so", replica)
            finally:
                house.give(right)
            receiver.wait_for(1, 60)
            eventually(lambda: not replica.reasons(), "it is not ready again", replica)
            assert replica.stop() == 0


@pytest.mark.parametrize("listener", ["MTLS", "OAUTH"])
def test_a_certificate_or_a_token_lets_it_in_as_well(house: House, listener: str) -> None:
    with Receiver() as receiver:
        house.installation.subscribe(hook=receiver.url)
        with house.installation.consuming(**house.environ(listener)) as replica:
            replica.wait_until_ready()
            house.produce(9)
            receiver.wait_for(1, 60)
            assert replica.stop() == 0


@pytest.mark.parametrize(
    ("listener", "properties", "code", "said"),
    [
        ("SCRAM", {"sasl_password": "wrong-password-4711"}, 1, "invalid credentials"),
        ("SCRAM", {"ssl_ca_location": "FOREIGN"}, 1, "certificate verify failed"),
        ("SCRAM", {"ssl_ca_location": None}, 1, "certificate verify failed"),
        ("MTLS", {"ssl_key_location": None, "ssl_certificate_location": None}, 1, "certificate required"),
        ("OAUTH", {"sasl_oauthbearer_client_secret": "wrong-password-4711"}, 1, "Failed to acquire SASL OAUTHBEARER"),
        ("SCRAM", {"ssl_ca_location": "/nowhere/wrong-password-4711"}, 2, "ssl.ca.location failed"),
        ("SCRAM", {"security_protocol": "wrong-password-4711"}, 2, 'property "security.protocol"'),
        ("SCRAM", {"sasl_pasword": "wrong-password-4711"}, 2, 'property: "sasl.pasword"'),
    ],
)
def test_who_is_not_let_in_ends_with_one_sentence(
    house: House, listener: str, properties: dict[str, str | None], code: int, said: str
) -> None:
    properties = {name: str(house.foreign.path) if value == "FOREIGN" else value for name, value in properties.items()}
    environ = house.environ(listener, CONSUMER, **properties)
    house.installation.subscribe()
    done = house.installation.run("consume", **environ)
    assert done.returncode == code, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("sprintly-services: ")
    assert said in last
    assert "SPRINTLY_KAFKA" in last
    assert "Traceback" not in done.stderr
    values = {value for value in properties.values() if value} | house.secrets()
    assert not [value for value in values if value in done.stderr]
    assert len(done.stderr.splitlines()) <= 4  # what it starts with, and why it ends, are in the log as well


def test_a_command_that_is_not_let_in_says_so_in_one_line(house: House) -> None:
    environ = house.environ(sasl_password="wrong-password-4711")
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda line: house.installation.run(*line.split(), **environ), ("dlq drop", "topics create"))
        for done in runs:
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
            assert "invalid credentials" in done.stderr
            assert "wrong-password-4711" not in done.stderr


def test_a_listener_that_speaks_otherwise_is_waited_for_and_said(house: House) -> None:
    house.installation.subscribe()
    plain = {"SPRINTLY_BOOTSTRAP_SERVERS": house.broker.address("MTLS")}
    with house.installation.consuming(**plain) as replica:
        eventually(lambda: "expects TLS" in replica.reasons().get("kafka", ""), "it does not say so", replica)
    tls = house.environ("MTLS") | {"SPRINTLY_BOOTSTRAP_SERVERS": house.broker.container.bootstrap}
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda environ: house.installation.run("dlq", "list", **environ), (plain, tls)))
    assert [done.returncode for done in runs] == [1, 1]
    assert "expects TLS: see security.protocol" in runs[0].stderr
    assert "connecting to a PLAINTEXT broker listener?" in runs[1].stderr


@pytest.mark.parametrize(
    ("user", "command", "said"),
    [
        (CONSUMER, "dlq list", "Read on topic TOPIC.dlq;"),
        (PRODUCER, "dlq list", "Read on topic TOPIC.dlq;"),
        (PRODUCER, "deliveries owed", "Read on topic TOPIC.state;"),
        (CONSUMER, "dlq drop --yes", "Read on topic TOPIC.dlq;"),
        (CONSUMER, "dlq replay", "Write on topic TOPIC.replay;"),
        (OPERATOR, "produce -", "Write on topic TOPIC;"),
        (PRODUCER, "subscriptions disable hook", "Read on topic TOPIC.state;"),
        (CONSUMER, "topics grow --partitions 9", "Alter and Describe on topic TOPIC.state;"),
        (PRODUCER, "topics grow --partitions 9", "Alter on topic TOPIC.state;"),
    ],
)
def test_a_command_says_what_it_may_not_do(house: House, user: str, command: str, said: str) -> None:
    house.installation.subscribe(hook="https://hooks.example.com/x")
    done = house.run(user, *command.split(), input=json.dumps(event(1)))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert said.replace("TOPIC", house.installation.topic) in done.stderr


def test_topics_are_created_only_with_the_right_to_it(house: House) -> None:
    done = house.installation.run("topics", "create", **house.environ(user=PRODUCER), SPRINTLY_TOPIC="other.events")
    assert done.returncode == 1
    assert "Create and Describe on topic other.events" in done.stderr
