"""Other ways to score a features topic, each as a process: ``python -m tests.bench.scoring.rivals NAME FILE OUT``.

FILE is the pipeline's definition, OUT the topic of the results. Each reads the features topic from the start in a group
of its own, and stops at SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from penstock.settings import Settings
from schemas.codec import Decoder, Encoder
from schemas.records import PREDICTION_SCHEMA
from scoring.model_metadata import ModelMetadata
from scoring.repository import ModelRepository
from scoring.servers.onnx import OnnxServer
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.vectors import FloatArray, Vectorizer, packed_vectors
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema

BATCH = 1_024

Infer = Callable[[FloatArray], FloatArray]


class Records:
    """Feature records and predictions as Python has them."""

    def __init__(self, pipeline: Pipeline) -> None:
        plan = compile_plan(pipeline)
        self.pipeline = pipeline
        self.views = [(view.name, view.id) for view in plan.views]
        self.decoder, self.encoder = Decoder(features_schema(plan)), Encoder(PREDICTION_SCHEMA)
        self.vectorizer = Vectorizer(pipeline.model.inputs)

    def predictions(self, messages: list[Message], infer: Infer) -> list[bytes]:
        """Decode, score and encode messages record by record, with one call to the model."""
        records = [self.decoder.decode(message.value()) for message in messages]
        vectors = self.vectorizer.vectors(records)
        rows = zip(messages, records, packed_vectors(vectors), infer(vectors)[:, 0].tolist(), strict=True)
        return [self.encoder.encode(self._prediction(*row)) for row in rows]

    def _prediction(self, message: Message, record: dict[str, Any], vector: bytes, score: float) -> dict[str, Any]:
        return {
            "event_id": record["event_id"],
            "pipeline": self.pipeline.name,
            "event_time": record["event_time"],
            "entity": record[self.views[0][0]]["entity"],
            "score": score,
            "decision": "block" if score >= 0.5 else "approve",
            "model": self.pipeline.model.name,
            "model_version": "1",
            "route": "primary",
            "policy_version": "0",
            "views": [{"view": id_, **record[view]} for view, id_ in self.views],
            "scored_at": record["event_time"],
            "attempt": record["attempt"],
            "source": record["source"],
            "features_topic": message.topic(),
            "features_partition": message.partition(),
            "features_offset": message.offset(),
            "vector": vector,
            "outputs": [],
            "reasons": [],
        }


class Rig:
    """What every rival needs: clients, and the records as Python has them."""

    def __init__(self, pipeline: Pipeline, settings: Settings, out: str, *, transactional: bool) -> None:
        self.pipeline, self.out = pipeline, out
        self.kafka = settings.kafka.access.client()
        group = {"group.id": f"bench-{out}", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
        self.consumer = Consumer({**self.kafka, **group, "enable.auto.commit": not transactional})
        self.consumer.subscribe([pipeline.features_topic])
        # As the scorer's: without the short backoff, each transaction waits a tenth of a second.
        fast = {"retry.backoff.ms": 1, "linger.ms": 0, "compression.type": "lz4", "delivery.report.only.error": True}
        identity = {"transactional.id": f"bench-{out}"} if transactional else {}
        self.producer = Producer({**self.kafka, **fast, **identity})
        if transactional:
            self.producer.init_transactions(30)
        self.records = Records(pipeline)
        self.stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stopped.set())

    def commit(self, messages: list[Message], values: list[bytes]) -> None:
        """Write a value for each message, and the offsets after them, in one transaction."""
        group = self.consumer.consumer_group_metadata()
        self.producer.begin_transaction()
        for message, value in zip(messages, values, strict=True):
            self.producer.produce(self.out, value, message.key(), message.partition())
        ends = {message.partition(): message.offset() + 1 for message in messages}
        offsets = [TopicPartition(self.pipeline.features_topic, partition, end) for partition, end in ends.items()]
        self.producer.send_offsets_to_transaction(offsets, group, 30)
        self.producer.commit_transaction(30)

    def batches(self, size: int, timeout_s: float) -> Any:
        """Batches of messages until the process shall stop."""
        while not self.stopped.is_set():
            messages = [m for m in self.consumer.consume(size, timeout_s) if m.error() is None]
            if messages:
                yield messages


def triton(pipeline: Pipeline, settings: Settings) -> Infer:
    """The model on Triton."""
    server = open_server(PRIMARY_SERVER, settings)
    return lambda vectors: server.infer(pipeline.model.name, 1, vectors, 10.0)


def in_process(pipeline: Pipeline, settings: Settings) -> Infer:
    """The same model on ONNX Runtime in this process."""
    server = OnnxServer(ModelRepository(settings.model_repository))
    server.load(ModelMetadata(pipeline.model.name, 1, pipeline.model.inputs, {}, BATCH))
    return lambda vectors: server.infer(pipeline.model.name, 1, vectors)


def relay(pipeline: Pipeline, settings: Settings, out: str) -> None:
    """The ceiling: consume, one call to Triton, a transaction of the same bytes; nothing is decoded."""
    rig, infer = Rig(pipeline, settings, out, transactional=True), triton(pipeline, settings)
    vectors = np.random.default_rng(1).random((BATCH, len(pipeline.model.inputs)), np.float32)
    for messages in rig.batches(BATCH, 0.005):
        infer(vectors[: len(messages)])
        rig.commit(messages, [message.value() for message in messages])


def embedded(pipeline: Pipeline, settings: Settings, out: str) -> None:
    """The model within the process, records as dicts, a transaction for each batch."""
    rig, infer = Rig(pipeline, settings, out, transactional=True), in_process(pipeline, settings)
    for messages in rig.batches(BATCH, 0.005):
        rig.commit(messages, rig.records.predictions(messages, infer))


def per_message_exactly_once(pipeline: Pipeline, settings: Settings, out: str) -> None:
    """One call to Triton and one transaction for each message."""
    rig, infer = Rig(pipeline, settings, out, transactional=True), triton(pipeline, settings)
    for messages in rig.batches(1, 0.2):
        rig.commit(messages, rig.records.predictions(messages, infer))


def thread_per_message(pipeline: Pipeline, settings: Settings, out: str) -> None:
    """As in Triton's tutorial on Kafka: a thread for each message, offsets committed by the client, at least once."""
    rig, infer = Rig(pipeline, settings, out, transactional=False), triton(pipeline, settings)

    def score(message: Message) -> None:
        (value,) = rig.records.predictions([message], infer)
        rig.producer.produce(out, value, message.key(), message.partition())
        rig.producer.poll(0)

    with ThreadPoolExecutor(16) as threads:
        for messages in rig.batches(16, 0.2):
            list(threads.map(score, messages))
    rig.producer.flush(30)


RIVALS = {
    "relay": relay,
    "embedded": embedded,
    "per_message_exactly_once": per_message_exactly_once,
    "thread_per_message": thread_per_message,
}

if __name__ == "__main__":
    rival, file, result_topic = sys.argv[1:]
    RIVALS[rival](load_pipeline(file), Settings(), result_topic)
