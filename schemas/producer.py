"""The event producer for upstream services: validates events, sends them to Kafka, and reports failed deliveries.

::

    kafka = KafkaAccess(bootstrap="kafka:9092")
    with EventProducer(CardTransaction, "events.card", kafka=kafka, key="card_id") as producer:
        producer.send(CardTransaction(...))

Events need the acknowledgement of all replicas, and the client's retries make no duplicates (idempotence). Partitions
are chosen as in Java clients, so producers in any language agree on an entity's partition.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from pydantic import ValidationError

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.fatal import run_callbacks
from schemas.avro import contract_schema
from schemas.codec import Encoder, first_problem
from schemas.contract import Contract, Role, contract_fields, field_with_role
from schemas.documents import document_of, row_of
from schemas.envelopes import (
    CloudEvents,
    Debezium,
    NotInEnvelope,
    check_attributes,
    open_structured,
)
from schemas.registry import register, registry_client
from schemas.sealing import headers_around, require_writable, sealed

FIXED_CONFIG = {
    "acks": "all",
    "enable.idempotence": True,
    # The partitioner of Java clients; librdkafka's default (CRC32) would choose another partition for an entity.
    "partitioner": "murmur2_random",
}
"""What every producer of raw events is set to."""
_METADATA_TIMEOUT_S = 10.0
_POLL_S = 0.1


class InvalidEvent(PenstockError, ValueError):  # noqa: N818 - describes what the caller passed
    """The event does not fit its contract or is too large for a Kafka message; it was not sent."""


class DeliveryFailed(PenstockError):  # noqa: N818 - describes what happened
    """Kafka did not accept some events. ``events`` has them in the order in which they failed: send them again.

    A broker refuses a whole batch, so some of these events may be valid.
    """

    def __init__(self, what: str, *, where: str, events: Sequence[Contract]) -> None:
        super().__init__(
            what,
            where=where,
            safe="every other event that was sent before is acknowledged or still on its way",
            next="remove the cause, then send the failed events again (the error's .events)",
        )
        self.events = tuple(events)


class EventProducer:
    """Sends events of one contract to one topic. Not thread-safe.

    Args:
        contract: The contract that every event must fit.
        topic: The source's topic; must exist.
        kafka: Brokers, TLS and login; ``Settings().kafka.access`` reads them from the environment.
        key: The field whose value is the record's key, normally the source's ``key``; None spreads events at random.
        encoding: ``avro`` (single-object encoding, or Confluent framing with a registry) or ``json``.
        registry_url: A Confluent schema registry; the schema is registered under ``<topic>-value``.
        envelope: The source's ``CloudEvents()``: events are sent as such, in structured mode, which is JSON whatever
            ``encoding`` says.
        config: More librdkafka settings (buffers, ``delivery.timeout.ms``); acknowledgement, idempotence and
            partitioner cannot be changed.

    Raises:
        PenstockError: if Kafka or the registry cannot be reached, the topic does not exist, the registry refuses the
            schema, or events are in an envelope that the producer cannot write.
        ValueError: if ``config`` sets a fixed setting, ``key`` is not a field, or JSON is combined with a registry.
    """

    def __init__(
        self,
        contract: type[Contract],
        topic: str,
        *,
        kafka: KafkaAccess,
        key: str | None = None,
        encoding: Literal["avro", "json"] = "avro",
        registry_url: str | None = None,
        envelope: Debezium | CloudEvents | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if fixed := sorted(set(config or ()) & {*FIXED_CONFIG, *kafka.client()}):
            raise ValueError(f"config may not set {', '.join(fixed)}")
        if key is not None and key not in contract.model_fields:
            raise ValueError(f"key {key!r} is not a field of contract {contract.contract_name}")
        if registry_url is not None and encoding != "avro":
            raise ValueError("a schema registry is for encoding='avro'")
        self._contract, self._topic, self._key = contract, topic, key
        self._serialize = serializer(contract, topic, encoding, registry_url, envelope)
        self._envelope, self._headers = envelope, headers_around(envelope)
        # By event number: events that are not acknowledged, and place and reason of each failure.
        self._numbers = itertools.count()
        self._pending: dict[int, Contract] = {}
        self._failed: dict[int, tuple[str, str]] = {}
        self._fatal: KafkaError | None = None
        self._producer = Producer({**kafka.client(), "linger.ms": 5, **(config or {}), **FIXED_CONFIG})
        self._require_topic(kafka)

    def send(
        self,
        event: Contract | Mapping[str, Any],
        *,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one event for delivery; blocks while the buffer is full.

        Args:
            event: An instance of the contract, which has the values of its columns; or the event as it is written in
                JSON.
            timestamp_ms: The record's Kafka timestamp, epoch ms; now by default.
            headers: The record's headers.

        Raises:
            InvalidEvent: if the event does not fit the contract or is too large; other events are not affected.
            DeliveryFailed: if Kafka did not accept events sent earlier; this one was not sent.
            PenstockError: if the client has a fatal error; make a new producer.
        """
        valid = validated(event, self._contract, self._topic, self._envelope)
        value = self._serialize(valid)
        key = getattr(valid, self._key) if self._key else None
        extra = {} if timestamp_ms is None else {"timestamp": timestamp_ms}
        self._run_callbacks(partial(self._producer.poll, 0))
        self._raise_failures()
        number = next(self._numbers)
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value=value,
                    key=None if key is None else str(key).encode(),
                    headers=[*self._headers, *headers],
                    on_delivery=partial(self._on_delivery, number),
                    **extra,
                )
            except BufferError:
                # The loop ends: events that Kafka does not accept within delivery.timeout.ms fail and are raised here.
                self._run_callbacks(partial(self._producer.poll, _POLL_S))
                self._raise_failures()
            except KafkaException as error:
                # After a fatal error the client says no more than that there was one; its cause comes with `poll`.
                self._run_callbacks(partial(self._producer.poll, _POLL_S))
                raise self._produce_error(self._fatal or error.args[0], len(value)) from error
            else:
                # Delivery reports arrive only in poll and flush, so none came before this line.
                self._pending[number] = valid
                return

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until all events are acknowledged.

        Raises:
            DeliveryFailed: if some failed, or are not acknowledged within ``timeout_s`` (those may still arrive).
        """
        waiting = self._run_callbacks(partial(self._producer.flush, timeout_s))
        self._raise_failures()
        if waiting:
            raise DeliveryFailed(
                f"{waiting} events are not acknowledged after {timeout_s:g} s", where=self._topic, events=()
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.flush()
        except DeliveryFailed as failed:
            if error is None:
                raise
            # The caller's error stays the main one; the lost events must still be reported.
            error.add_note(str(failed))

    def _on_delivery(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is None:
            del self._pending[number]
            return
        partition = message.partition()
        place = self._topic if partition is None or partition < 0 else f"{self._topic}[{partition}]"
        self._failed[number] = place, error.str()

    def _run_callbacks(self, call: Callable[[], int]) -> int:
        """Poll or flush; keep a fatal error, which the client raises only once."""
        count, fatal = run_callbacks(call)
        self._fatal = self._fatal or fatal
        return count

    def _raise_failures(self) -> None:
        if self._fatal is not None and not len(self._producer):
            # Nothing is in flight any more: events without a report have failed too.
            lost = (self._topic, self._fatal.str())
            self._failed = {**dict.fromkeys(self._pending, lost), **self._failed}
        if self._failed:
            failed, self._failed = self._failed, {}
            reason = next(iter(failed.values()))[1] if self._fatal is None else self._fatal.str()
            raise DeliveryFailed(
                f"Kafka did not accept {counted(len(failed), 'event')}: {reason}",
                where=", ".join(sorted({place for place, _ in failed.values()})),
                events=[self._pending.pop(number) for number in failed],
            )

    def _produce_error(self, error: KafkaError, size: int) -> PenstockError:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return InvalidEvent(
                f"the event is {size:,} bytes, more than a message may have (message.max.bytes)",
                where=self._topic,
                safe="it was not sent; other events are not affected",
                next="send smaller events: limit text fields in the contract with max_length",
            )
        return PenstockError(
            f"the producer has failed: {error.str()}",
            where=self._topic,
            safe="acknowledged events are in Kafka",
            next="close this producer, make a new one, and send the unacknowledged events again",
        )

    def _require_topic(self, kafka: KafkaAccess) -> None:
        try:
            metadata = self._producer.list_topics(self._topic, timeout=_METADATA_TIMEOUT_S)
        except KafkaException as error:
            raise PenstockError(
                f"Kafka cannot be reached: {error.args[0].str()}", where=str(kafka), next="penstock status"
            ) from error
        topic_error = metadata.topics[self._topic].error
        if topic_error is not None:
            raise PenstockError(
                f"topic {self._topic} cannot be written: {topic_error.str()}",
                where=str(kafka),
                next="create it: penstock topics create PIPELINE",
            )


def validated(
    event: Contract | Mapping[str, Any],
    contract: type[Contract],
    topic: str,
    envelope: Debezium | CloudEvents | None = None,
) -> Contract:
    """Return the event as an instance of the contract, checked by the rules that the job checks it by.

    With ``envelope``, one that is not an instance is a CloudEvent in structured mode.

    Raises:
        InvalidEvent: if it does not fit the contract; names the topic or the field.
    """
    if isinstance(event, contract):
        # `model_construct` and `model_copy` make instances without validation.
        row = dict(event)
        if any(not field.is_plain for field in contract_fields(contract)):
            # What is sent must be valid when it is read again, in the form in which it is written.
            row = row_of(_document(_valid(row, contract)), contract)
        return _valid(row, contract)
    if isinstance(event, Contract):
        raise InvalidEvent(
            f"the event is a {type(event).contract_name}, the topic takes {contract.contract_name}", where=topic
        )
    return _valid(row_of(event if envelope is None else opened(event, topic), contract), contract)


def opened(event: Mapping[str, Any], topic: str) -> dict[str, Any]:
    """The event in a CloudEvent in structured mode, of JSON data.

    Raises:
        InvalidEvent: if it is none.
    """

    def refuse(_: bytes) -> tuple[dict[str, Any], Any]:
        raise NotInEnvelope("give the data as an object, not in data_base64")

    try:
        return open_structured(dict(event), refuse).document
    except NotInEnvelope as error:
        raise InvalidEvent(str(error), where=topic, safe="it was not sent") from None


def _valid(row: Mapping[str, Any], contract: type[Contract]) -> Contract:
    try:
        return contract.model_validate(row)
    except ValidationError as error:
        path, _, problem = first_problem(error, contract, row).partition(": ")
        raise _unfit(contract, path, problem) from None


def _document(event: Contract) -> dict[str, Any]:
    try:
        return document_of(dict(event), contract_fields(type(event)))
    except ValueError as error:
        path, _, problem = str(error).partition(": ")
        raise _unfit(type(event), path, problem) from None


def _unfit(contract: type[Contract], path: str, problem: str) -> InvalidEvent:
    return InvalidEvent(
        f"the event does not fit contract {contract.contract_name}: {problem}",
        where=f"field {path}",
        safe="it was not sent",
    )


def serializer(
    contract: type[Contract],
    topic: str,
    encoding: str,
    registry_url: str | None,
    envelope: Debezium | CloudEvents | None = None,
) -> Callable[[Contract], bytes]:
    """Return what makes a record's value of an event. Not thread-safe.

    A CloudEvent's value needs the headers of :func:`schemas.sealing.headers_around`.

    Args:
        contract: The contract of all events.
        topic: Their topic.
        encoding: ``avro`` or ``json``.
        registry_url: A Confluent schema registry, for ``avro``; the schema is registered at once.
        envelope: The envelope of its source.

    Raises:
        PenstockError: if the registry cannot be reached, or refuses the schema; or events are in an envelope that
            cannot be written. From the serializer, :class:`InvalidEvent` if an attribute of a CloudEvent is missing.
    """
    fields = contract_fields(contract)
    require_writable(contract, topic, envelope)
    if isinstance(envelope, CloudEvents):
        return partial(_cloud_event, envelope=envelope)
    if encoding == "json":
        return lambda event: json.dumps(
            document_of(dict(event), fields), ensure_ascii=False, separators=(",", ":")
        ).encode()
    if registry_url is None:
        encoder = Encoder(contract_schema(contract))
        return lambda event: encoder.encode(document_of(dict(event), fields, avro=True))
    schema = json.dumps(contract_schema(contract))
    client = registry_client(registry_url)
    register(client, registry_url, topic, schema)
    from confluent_kafka.schema_registry import topic_subject_name_strategy  # noqa: PLC0415 - see registry_client
    from confluent_kafka.schema_registry.avro import AvroSerializer  # noqa: PLC0415
    from confluent_kafka.serialization import MessageField, SerializationContext  # noqa: PLC0415

    # It registers the schema, too, and finds it in the client's cache: no event waits for the registry, or fails by it.
    serializer = AvroSerializer(
        client,
        schema,
        lambda event, _: document_of(dict(event), fields, avro=True),
        {"subject.name.strategy": topic_subject_name_strategy},
    )
    context = SerializationContext(topic, MessageField.VALUE)
    return lambda event: bytes(serializer(event, context))


def _cloud_event(event: Contract, *, envelope: CloudEvents) -> bytes:
    kind = type(event)
    id_field = field_with_role(kind, Role.EVENT_ID)
    event_id = None if id_field is None else getattr(event, id_field)
    document = sealed(_document(event), envelope, kind.contract_name, event_id)
    try:
        check_attributes(document, "")
    except NotInEnvelope as error:
        raise InvalidEvent(str(error), where=f"contract {kind.contract_name}", safe="it was not sent") from None
    # Null is an attribute that is not there.
    document = {name: value for name, value in document.items() if value is not None}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
