"""The client of one pipeline: sends events, and hands their answers to whoever waits."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import Message
from prometheus_client import CollectorRegistry

from penstock.client.answers import (
    LATE,
    Answer,
    EventConflict,
    EventRefused,
    Known,
    Prediction,
    Refusal,
    TooBusy,
)
from penstock.client.client_metrics import ClientMetrics
from penstock.client.reading import AnswerReader, Topic, event_id_of
from penstock.client.sending import EventSender, Full, TooLong
from penstock.client.waits import Asked, Begun, Busy, Conflict, Place, Waits
from penstock.counts import counted
from penstock.errors import PenstockError, naming
from penstock.kafka.names import dead_letters_of
from penstock.settings import Settings
from schemas.codec import id_problem
from schemas.contract import Contract
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from schemas.producer import InvalidEvent, serializer, validated
from schemas.sealing import headers_around
from scoring.predictions import event_position_of_dead_letter
from streams.definitions.base import id_prefix
from streams.definitions.pipeline import Pipeline
from streams.definitions.sources import Source
from streams.plan.project import open_project

_log = logging.getLogger(__name__)

Fallback = str | Callable[[Contract], str]
"""The decision where no prediction came in time: a text, or a function of the event, which must be quick."""

_HASH_BYTES = 16
_POLL_S = 0.05
_LOOK_EVERY_S = 10.0
_CLOSE_POLL_S = 0.01
_SCORER = "penstock.scorer"


class Client:
    """Asks one pipeline. Threads may share it, and so may the tasks of an event loop.

    It reads all predictions of the pipeline, so a process needs one client for each pipeline, however much it asks.
    The constructor returns when the client is ready, which takes some hundred milliseconds.

    Args:
        pipeline: The pipeline's file, folder, or the name of its folder, as on the command line.
        source: The topic that events go to, of those whose events are scored; by default that of the pipeline's own
            source. The ids of events of another contract begin with its name: ``click:7f3a``.
        fallback: The decision where the model's does not come in time.
        settings: How to reach Kafka, and a schema registry; by default from the environment.
        encoding: In which encoding events are sent; the same as for :class:`~penstock.producer.EventProducer`.
        most_in_flight: How many calls may wait at once, and how many events may wait for Kafka.
        remembered: How many events are remembered for those who ask again, and as many predictions of events that were
            sent by others: about 1 kB each.
        metrics: Where it counts; by default nowhere.
        config: More librdkafka settings of the producer.

    Raises:
        PenstockError: if there is no such pipeline or source, its contract has no event id, Kafka or the schema
            registry cannot be reached, a topic does not exist, or the registry refuses the contract's schema.
    """

    def __init__(
        self,
        pipeline: str,
        *,
        source: str | None = None,
        fallback: Fallback,
        settings: Settings | None = None,
        encoding: Literal["avro", "json"] = "avro",
        most_in_flight: int = 1_000,
        remembered: int = 20_000,
        metrics: ClientMetrics | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        settings = settings or Settings()
        kafka = settings.kafka.access
        project = open_project(pipeline)
        self.pipeline = definition = project.pipeline
        self.source = of = _source(definition, source, pipeline)
        own = definition.source
        self.name = definition.name if of.topic == own.topic else f"{definition.name}:{of.topic}"
        if of.event_id is None:
            raise PenstockError(
                f"contract {of.contract.contract_name} has no event id, by which answers are found",
                where=pipeline,
                next="mark a field with EVENT_ID in a new version of the contract",
            )
        if of.key is not None and of.key not in of.contract.model_fields:
            raise PenstockError(
                f"events are keyed by {of.key}, which no field of {of.contract.contract_name} holds",
                where=pipeline,
                next="key the source by a field of its contract",
            )
        self._is_closed = False
        self._id_field = of.event_id
        self._reserved_ids = project.plan.reserved_ids(definition.sources.index(of))
        contracts = own.contract.contract_name, of.contract.contract_name
        self._id_prefix = id_prefix(*contracts, triggers=True, has_id=True)
        self._fallback = fallback
        registry_url = settings.schema_registry_url if encoding == "avro" else None
        self._serialize = serializer(of.contract, of.topic, encoding, registry_url, of.envelope)
        self._serializing = threading.Lock()
        self._decoder = record_decoder("prediction")
        self._lock = threading.Lock()  # of the waits
        self._waits = Waits(most_in_flight, remembered, self._decoded)
        self._metrics = metrics or ClientMetrics(CollectorRegistry())
        self._metrics.in_flight.labels(self.name).set_function(lambda: self._waits.in_flight)
        self._sender = EventSender(
            kafka, of.topic, config or {}, self._on_sent, self._on_failed, headers_around(of.envelope)
        )
        published = definition.features_topic, definition.predictions_topic
        letters = (of.dead_letter_topic, *map(dead_letters_of, published))
        self._reader = AnswerReader(
            kafka,
            {definition.predictions_topic: Topic(self._on_prediction, look_back=remembered)}
            | {topic: Topic(self._on_letter) for topic in letters},
            self._metrics.unreadable.labels(self.name).inc,
        )
        with naming(pipeline):
            self._reader.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._report, name="penstock-client-send", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it sends and reads, as far as Kafka lets it."""
        return self._reader.is_alive and self._thread.is_alive()

    def ask(self, event: Contract | Mapping[str, Any], *, deadline_ms: float) -> Answer:
        """Send an event, and wait for its prediction, or for the deadline.

        Asked again, with the same id and content: it joins the wait that is on, or returns the answer that was given.
        The event is not sent twice.

        Args:
            event: An instance of the contract, or its fields.
            deadline_ms: After so many milliseconds the fallback decides.

        Raises:
            InvalidEvent: if the event does not fit the contract, or is too long; it was not sent.
            EventConflict: if another event had this id; it was not sent.
            TooBusy: if too many events are in flight; it was not sent.
            EventRefused: if the pipeline refused the event: it is a dead letter.
            Exception: what the fallback raises, if it is a function.
        """
        call = self._begin(event, deadline_ms)
        try:
            if call.waits:
                with contextlib.suppress(TimeoutError):
                    call.asked.known.result(call.left_s())
            return self._answer(call)
        finally:
            self._end(call)

    async def ask_async(self, event: Contract | Mapping[str, Any], *, deadline_ms: float) -> Answer:
        """As :meth:`ask`, in an event loop: other tasks run while this one waits."""
        call = self._begin(event, deadline_ms)
        try:
            if call.waits:
                # Not wait_for: it would cancel the wait of whoever has joined.
                await asyncio.wait([asyncio.wrap_future(call.asked.known)], timeout=call.left_s())
            return self._answer(call)
        finally:
            self._end(call)

    def lookup(self, event_id: str) -> Known | None:
        """What is known of an event, such as a prediction that came after the fallback; None if nothing is any more."""
        with self._lock:
            return self._waits.lookup(event_id)

    def close(self, timeout_s: float = 30.0) -> None:
        """Wait until nobody waits any more and Kafka has every event, then disconnect; others cannot ask meanwhile.

        Blocks: in an event loop, call it by ``asyncio.to_thread``.

        Raises:
            PenstockError: if Kafka has not acknowledged all events by then: they may be lost.
        """
        if self._is_closed:
            return
        self._is_closed = True
        end_s = time.monotonic() + timeout_s
        while self._waits.in_flight and time.monotonic() < end_s:
            time.sleep(_CLOSE_POLL_S)
        self._stop.set()
        self._thread.join()
        lost = self._sender.flush(max(0.0, end_s - time.monotonic()))
        self._reader.close()
        if lost:
            raise PenstockError(
                f"Kafka has not acknowledged {counted(lost, 'event')} after {timeout_s:g} s",
                where=self.source.topic,
                safe="every other event that was asked for is in Kafka",
                next="ask for these events again, with the same ids",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except PenstockError as lost:
            if error is None:
                raise
            error.add_note(str(lost))  # the caller's error stays the main one

    def _begin(self, event: Contract | Mapping[str, Any], deadline_ms: float) -> _Call:
        if not 0 <= deadline_ms < math.inf:
            raise ValueError(f"deadline_ms is {deadline_ms}; it must be a number of milliseconds, not below 0")
        if self._is_closed:
            raise PenstockError("the client is closed", safe="the event was not sent", next="make a new client")
        now_s = time.monotonic()
        try:
            return self._begun(event, now_s, deadline_ms)
        except PenstockError as error:
            self._metrics.refused.labels(self.name, _REASONS.get(type(error), "invalid")).inc()
            raise

    def _begun(self, event: Contract | Mapping[str, Any], now_s: float, deadline_ms: float) -> _Call:
        source = self.source
        valid = validated(event, source.contract, source.topic, source.envelope)
        if problem := id_problem(valid, source.contract, self._reserved_ids):
            raise InvalidEvent(problem, where=source.topic, safe="it was not sent", next="send it with another id")
        with self._serializing:
            value = self._serialize(valid)
        if len(value) > source.max_bytes:
            raise _too_long(f"{len(value):,} bytes, more than the {source.max_bytes:,} that the source allows", source)
        key = None if source.key is None else getattr(valid, source.key)
        key_bytes = None if key is None else str(key).encode()
        content = hashlib.blake2b(value, digest_size=_HASH_BYTES).digest()
        try:
            with self._lock:
                event_id = self._id_prefix + getattr(valid, self._id_field)
                event_time = getattr(valid, source.event_time)
                asked, begun = self._waits.begin(event_id, event_time, content, now_s)
        except Busy:
            raise TooBusy("too many events are in flight", source.topic) from None
        except Conflict:
            raise EventConflict(self._id_field) from None
        call = _Call(valid, asked, begun is not Begun.SETTLED, now_s, now_s + deadline_ms / 1000)
        if begun is Begun.SEND:
            self._send(call, value, key_bytes)
        return call

    def _send(self, call: _Call, value: bytes, key: bytes | None) -> None:
        try:
            self._sender.send(call.asked, value, key)
        except BaseException as error:
            with self._lock:
                self._waits.undelivered(call.asked)
            self._end(call)
            if isinstance(error, Full):
                raise TooBusy("Kafka takes no events, and too many wait for it", self.source.topic) from None
            if isinstance(error, TooLong):
                raise _too_long("more bytes than a message may have (message.max.bytes)", self.source) from None
            raise

    def _answer(self, call: _Call) -> Answer:
        asked = call.asked
        with self._lock:
            given, refusal = asked.given, asked.refusal if asked.is_refused else None
            reason = asked.no_prediction or LATE
        if refusal is not None:
            self._metrics.refused.labels(self.name, refusal.reason).inc()
            raise EventRefused(refusal, self.source.topic)
        if given is None:
            decision = self._fallback if isinstance(self._fallback, str) else self._fallback(call.event)
            waited_ms = 1000 * (time.monotonic() - asked.begun_s)
            fallback = Answer(asked.event_id, decision, None, None, None, "fallback", reason, waited_ms)
            with self._lock:
                given = self._waits.give(asked, fallback)
        self._metrics.answers.labels(self.name, given.source, given.reason or "").inc()
        self._metrics.wait.labels(self.name).observe(time.monotonic() - call.begun_s)
        return given

    def _end(self, call: _Call) -> None:
        if call.waits:
            with self._lock:
                self._waits.leave(call.asked)

    def _on_sent(self, asked: Asked, place: Place) -> None:
        with self._lock:
            self._waits.acknowledged(asked, place)

    def _on_failed(self, asked: Asked, why: str) -> None:
        _log.error("Kafka did not take an event of %s: %s", self.source.topic, why)
        with self._lock:
            self._waits.undelivered(asked)

    def _on_prediction(self, message: Message) -> None:
        value = message.value()
        event_id = event_id_of(value)
        if value is None or event_id is None:
            raise ValueError("no prediction")
        now_s = time.monotonic()
        with self._lock:
            asked = self._waits.predicted(event_id, value, now_s)
        if asked is not None:
            self._metrics.prediction.labels(self.name).observe(now_s - asked.begun_s)
            if asked.given is not None and asked.given.source == "fallback":
                self._metrics.late.labels(self.name).inc()

    def _on_letter(self, message: Message) -> None:
        letter = DeadLetter.read(message.key(), message.value(), message.headers())
        if letter.pipeline not in (None, self.pipeline.name):
            return
        topic, place = letter.topic, Place(letter.partition, letter.offset)
        if letter.component == _SCORER:
            position = event_position_of_dead_letter(message.headers() or ())
            if position is None:
                return  # a feature record that cannot be read: nobody knows of which event
            topic, place = position.topic, Place(position.partition, position.offset)
        if topic == self.source.topic:
            with self._lock:
                self._waits.refused(place, Refusal(letter.reason, letter.stage, letter.message))

    def _decoded(self, value: bytes) -> Prediction | None:
        try:
            found = self._decoder.decode(value)
        except PenstockError:
            self._metrics.unreadable.labels(self.name).inc()
            return None
        names = ("event_time", "decision", "score", "model", "model_version", "scored_at")
        return Prediction(**{name: found[name] for name in names})

    def _report(self) -> None:
        look_s = time.monotonic() + _LOOK_EVERY_S
        while not self._stop.is_set():
            try:
                self._sender.poll(_POLL_S)
                if time.monotonic() >= look_s:
                    look_s = time.monotonic() + _LOOK_EVERY_S
                    self._reader.look_for_partitions()
            except Exception:  # noqa: BLE001 - whoever waits depends on this thread
                _log.exception("events of %s: going on after an error", self.source.topic)
                self._stop.wait(_POLL_S)


def _source(pipeline: Pipeline, topic: str | None, where: str) -> Source:
    """The source that events go to.

    Raises:
        PenstockError: if the pipeline scores no events of that topic.
    """
    scored = {source.topic: source for source in pipeline.sources if source.triggers}
    found = scored.get(topic or pipeline.source.topic)
    if found is None:
        raise PenstockError(
            f"pipeline {pipeline.name} makes no predictions of events of {topic}",
            where=where,
            safe="nothing was sent",
            next=f"name a topic whose events it scores: {', '.join(scored)}; send others with EventProducer",
        )
    return found


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of ask: its event, whether it waits, and since when and until when, on the monotonic clock."""

    event: Contract
    asked: Asked
    waits: bool
    begun_s: float
    until_s: float

    def left_s(self) -> float:
        return max(0.0, self.until_s - time.monotonic())


_REASONS: dict[type[PenstockError], str] = {TooBusy: "busy", EventConflict: "conflict"}


def _too_long(length: str, source: Source) -> InvalidEvent:
    return InvalidEvent(
        f"the event is too long: {length}",
        where=source.topic,
        safe="it was not sent",
        next="send smaller events: limit text fields in the contract with max_length",
    )
