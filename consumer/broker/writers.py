"""Writers by confluent-kafka: a transaction, and what stands in for it on the mock cluster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException

from consumer.broker import Membership, Written
from consumer.broker.access import denied, opened
from consumer.broker.convert import GONE, refusal, to_commit
from consumer.errors import BrokerError, CycleAborted, RecordTooLarge, ReplayOverrun, WriterLost
from consumer.event import Commit, Outgoing, TopicPartition
from consumer.sidethread import started

ACKNOWLEDGE_TIME = 5.0  # seconds
GRACE = 2.0  # seconds after its own time-out until a call into the client is believed to hang
FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
REPLICA = "-replica-"  # between a group and what is random in the transactional id of a replica
NOT_A_MEMBER = "this member of the consumer group has nothing assigned: its offsets cannot be committed"


class Suspects(Exception):
    """Batches of several records were refused for their size: which record is too large is not known yet."""


class TransactionalWriter:
    """All of a `write` in one Kafka transaction. A producer that is of no more use is replaced at the next call.

    The next producer takes the same transactional id, so that the broker first ends what the last one left open:
    readers of committed data need not wait for its time-out, and a call of the last one that hangs, should it ever go
    on, is fenced. A named writer is not replaced: what it was to write may
    have been written by the one that took its name.
    """

    def __init__(self, config: Mapping[str, Any], group: str, name: str | None, timeout: float) -> None:
        """Write by producers of `config`, each transaction within `timeout` seconds. Raises WriterLost.

        Those without a name have a transactional id that begins with the `group`, so that an ACL can allow them all.
        """
        self._name = name
        self._group = group
        self._timeout = timeout
        self._config = {
            **config,
            "transactional.id": name or f"{group}{REPLICA}{uuid.uuid4()}",
            "transaction.timeout.ms": int(timeout * 1000),
            "message.timeout.ms": int(timeout * 500),  # below the transaction's own, so that a failure is known in time
        }
        self._producer: ck.Producer | None = None
        self._lost: BrokerError | None = None  # why a named writer writes no more
        # A name is taken over at once: what is read from now on, nobody else moves. And whoever may not write at all
        # should know before anything is delivered.
        self._begin()

    def write(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, Commit] | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Make records, and offsets of the group, durable together; see the protocol `Writer` for what it raises."""
        if self._lost is not None:
            raise self._lost
        metadata = membership.metadata if membership is not None else None
        if offsets and metadata is None:
            raise CycleAborted(NOT_A_MEMBER)
        try:
            self._transact(records, offsets, metadata, singly=False)
        except Suspects:  # the broker weighs batches: written one by one, the record too large is named
            self._write_singly(records, offsets, metadata)

    def close(self) -> None:
        """Give the writer up; between writes no transaction is open."""
        self._producer = None

    def _write_singly(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, Commit] | None, metadata: bytes | None
    ) -> None:
        """Write each record as a batch of its own, at the second try if need be.

        The client's next transaction after a refused batch is aborted, since the sequence numbers of that batch are
        missing; only then it asks for a new epoch (tried: 2.16).
        """
        try:
            self._transact(records, offsets, metadata, singly=True)
        except CycleAborted:
            if self._lost is not None:
                raise self._lost from None
            self._transact(records, offsets, metadata, singly=True)

    def _transact(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, Commit] | None,
        metadata: bytes | None,
        *,
        singly: bool,
    ) -> None:
        producer = self._producer or self._begin()
        try:
            self._call(producer.begin_transaction)
            _acknowledge(producer, records, self._timeout / 2, singly=singly)
            if offsets:
                self._call(producer.send_offsets_to_transaction, to_commit(offsets), metadata, self._timeout)
            self._call(producer.commit_transaction, self._timeout)
        except KafkaException as error:
            raise self._ended(producer, error.args[0], offsets or ()) from None
        except (CycleAborted, RecordTooLarge, Suspects):
            self._abort(producer)
            if self._lost is not None:  # it turns out only now that another has the name
                raise self._lost from None
            raise

    def _begin(self) -> ck.Producer:
        producer = opened(ck.Producer, self._config)
        try:
            self._call(producer.init_transactions, self._timeout)
        except KafkaException as error:
            raise WriterLost(f"no transaction could be begun: {self._said(error.args[0])}") from None
        self._producer = producer
        return producer

    def _call(self, call: Callable[..., object], *arguments: object) -> None:
        in_time(self._timeout + GRACE, call, *arguments)

    def _said(self, error: KafkaError, offsets: Iterable[TopicPartition] = ()) -> str:
        """Return what is wrong, with the right that is missing if that is it; it was to commit `offsets`."""
        writer = (self._name, False) if self._name else (f"{self._group}{REPLICA}", True)
        topics = sorted({tp.topic for tp in offsets})
        return denied(error, topics, group=self._group, writer=writer) or error.str()

    def _ended(self, producer: ck.Producer, error: KafkaError, offsets: Iterable[TopicPartition]) -> BrokerError:
        """Bring the producer back to where a transaction can begin, or drop it; say what became of this one."""
        if error.txn_requires_abort() and not error.fatal():
            self._abort(producer)
            return self._lost or CycleAborted(f"the transaction was aborted: {self._said(error, offsets)}")
        # Fatal, or timed out and so in doubt: whoever has states writes whole values again.
        return self._drop(error)

    def _abort(self, producer: ck.Producer) -> None:
        try:
            self._call(producer.abort_transaction, self._timeout)
        except KafkaException as error:
            self._drop(error.args[0])

    def _drop(self, error: KafkaError) -> BrokerError:
        """Give the producer up; returns the error that says so, which a named writer answers with from now on."""
        self._producer = None
        lost: BrokerError = WriterLost(f"the transaction is in doubt: {self._said(error)}")
        if self._name is not None:
            if error.code() in FENCED:
                lost = ReplayOverrun(f"another writer has taken the name {self._name} over")
            self._lost = lost
        return lost


class AcknowledgedWriter:
    """For the embedded mock cluster, which keeps no offsets in transactions: acknowledged writes, then a commit.

    Tombstones wait until everything else is acknowledged, offsets until both are and the member's own thread commits
    them: a crash in between doubles, and loses nothing.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = {**config, "enable.idempotence": True, "message.timeout.ms": 5000}
        self._producer = opened(ck.Producer, self._config)

    def write(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, Commit] | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Make records durable, and have offsets of the group committed after them."""
        if offsets and (membership is None or membership.metadata is None):
            raise CycleAborted(NOT_A_MEMBER)
        try:
            for part in ([r for r in records if r.value is not None], [r for r in records if r.value is None]):
                self._acknowledge(part)
        except KafkaException as error:
            self._producer = ck.Producer(self._config)
            raise WriterLost(f"the producer ended: {error.args[0].str()}") from None
        if offsets and membership is not None:
            membership.hand_over(offsets)

    def _acknowledge(self, records: Sequence[Outgoing]) -> None:
        try:
            _acknowledge(self._producer, records, ACKNOWLEDGE_TIME, singly=False)
        except Suspects:
            _acknowledge(self._producer, records, ACKNOWLEDGE_TIME, singly=True)

    def close(self) -> None:
        """Give the writer up; nothing is on its way between writes."""


class Report:
    """What became of one produced record: it is its own delivery callback."""

    __slots__ = ("done", "error", "message", "record")

    def __init__(self, record: Outgoing) -> None:
        self.record = record
        self.done = False
        self.error: KafkaError | None = None
        self.message: ck.Message | None = None

    def __call__(self, error: KafkaError | None, message: ck.Message | None = None) -> None:
        """Take in the broker's answer, or why it was never asked."""
        self.done, self.error, self.message = True, error, message

    @property
    def too_large(self) -> bool:
        """Whether the record was refused for its size, or for that of its batch."""
        return self.error is not None and self.error.code() == KafkaError.MSG_SIZE_TOO_LARGE

    def written(self) -> Written:
        """Return where the record is durable; raises BrokerError if it is not."""
        topic, error = self.record.topic, self.error
        if error is not None and (refused := refusal(error, (topic,), "Write")):
            raise refused
        message = self.message
        partition, offset = (None, None) if message is None else (message.partition(), message.offset())
        if error is not None or partition is None or offset is None:
            said = "no acknowledgement in time" if error is None else error.str()
            raise BrokerError(f"a record for the topic {topic} was not written: {said}")
        return Written(topic, partition, offset)


def send(producer: ck.Producer, record: Outgoing) -> Report:
    """Hand a record to the producer; a full queue is waited for, and a refusal becomes the report's error."""
    report = Report(record)
    partition = -1 if record.partition is None else record.partition
    while not report.done:
        try:
            producer.produce(
                record.topic, record.value, record.key, partition, on_delivery=report, headers=list(record.headers)
            )
            break
        except BufferError:
            serve(producer.poll, 0.1)
        except KafkaException as error:
            report(error.args[0])
    serve(producer.poll, 0)
    return report


def serve(call: Callable[[float], object], timeout: float) -> None:
    """Have delivery reports called, for up to `timeout` seconds. Raises KafkaException when the client has ended.

    A fatal error is raised out of the call itself; where reports follow it there, confluent-kafka goes on to call them
    with the exception set, and Python turns that into a SystemError (tried: 2.16, a fenced producer).
    """
    try:
        call(timeout)
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise


def in_time(seconds: float, call: Callable[..., object], *arguments: object) -> None:
    """Make a call into the client. Where it has not returned after so many seconds, raises KafkaException (timed out).

    The client's own time-outs do not always hold: `send_offsets_to_transaction` was seen to wait for ever after its
    broker had been killed (2.16; the same is told of `begin_transaction`,
    https://github.com/confluentinc/librdkafka/issues/4420). So it is made on a thread that can be left behind.
    """
    try:
        started("transaction", call, *arguments).result(seconds)
    except TimeoutError:
        name = getattr(call, "__name__", "a call")
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{name} did not return within {seconds:g} s")) from None


def _acknowledge(producer: ck.Producer, records: Sequence[Outgoing], timeout: float, *, singly: bool) -> None:
    """Write records, each acknowledged before the next if `singly`, and see that all are: `flush` alone proves nothing.

    Raises RecordTooLarge, Suspects where that may be the batch's fault (not `singly`), CycleAborted for all else.
    """
    if not records:
        return
    reports = []
    for record in records:
        reports.append(send(producer, record))
        if singly:
            serve(producer.flush, timeout)
    serve(producer.flush, timeout)
    refused = [report for report in reports if report.too_large]
    if refused and not singly and any(report.message is not None for report in refused):
        raise Suspects
    if refused:
        keys = frozenset(report.record.key or b"" for report in refused)
        raise RecordTooLarge(f"{_these(refused)} larger than the topic allows", keys)
    for report in reports:
        try:
            report.written()
        except BrokerError as error:
            _look_again(producer, report)
            raise CycleAborted(str(error)) from None


def _look_again(producer: ck.Producer, report: Report) -> None:
    """Have the client ask how many partitions a topic has, where it does not know the one that was to be written to.

    It may have been added since. By itself the client asks every 5 minutes, and refuses the partition until then.
    """
    if report.error is not None and report.error.code() in GONE:
        with suppress(KafkaException):
            producer.list_topics(report.record.topic, timeout=ACKNOWLEDGE_TIME)


def _these(refused: Iterable[Report]) -> str:
    names = sorted({f"{r.record.topic}, key {(r.record.key or b'').decode(errors='replace')}" for r in refused})
    return f"a record ({names[0]}) is" if len(names) == 1 else f"{len(names)} records (as {names[0]}) are"
