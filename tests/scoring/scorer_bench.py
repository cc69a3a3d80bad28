"""Helpers of the scorer's tests on real servers: a small pipeline, a model with known scores, a feed, a reader."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from onnx import TensorProto, helper, numpy_helper

from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import dead_letters_of
from penstock.kafka.topics import create_topics
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.codec import Decoder, Encoder
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from scoring.look_back import LookBack
from scoring.predictions import event_position
from scoring.repository import ModelRepository
from scoring.servers.registry import PRIMARY_SERVER, open_server
from scoring.trained_model import ModelManifest, TrainedModel, Validation
from scoring.version_loading import load_version
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.pipeline_topics import pipeline_topics

DEFINITION = """
from typing import Annotated

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count, sum_


class Tap(Contract, name="tap_{suffix}", version=1):
    tap_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float


card = Entity(name="card", key="card")
pipeline = Pipeline(
    name="taps_{suffix}",
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="card", partitions={partitions}),
    entities=(card,),
    views=(View(name="activity", version=1, entity=card, aggregates=(count(over="1h"), sum_("amount", over="1h"))),),
    model=Model(
        name="taps_{suffix}",
        inputs=("event.amount", "activity.amount_sum_1h", "activity.count_1h"),
        threshold=0.5,
        positive="block",
        negative="pass",
    ),
)
"""
WEIGHTS = np.array([[0.5], [0.25], [-0.125]], dtype=np.float32)
NEVER_SCORED = -1.0  # an amount below zero makes the model answer NaN


def define(folder: Path, suffix: str, partitions: int, cascade: str = "") -> tuple[str, Pipeline]:
    """Write the definition, and return its path and the pipeline; ``cascade`` are arguments of a cascade."""
    path = folder / f"taps_{suffix}.py"
    text = DEFINITION.format(suffix=suffix, partitions=partitions)
    if cascade:
        text = text.replace("import ENTITY", "import Cascade, ENTITY")
        text = text.replace('negative="pass",', f'negative="pass",\n        cascade=Cascade({cascade}),')
    path.write_text(text, encoding="utf-8")
    return str(path), load_pipeline(str(path))


def expected_score(amount: float, total: float | None, count: int) -> float:
    vector = np.array([amount, 0 if total is None else total, count], dtype=np.float32)
    return float(1 / (1 + np.exp(-(vector @ WEIGHTS)[0])))


def onnx_bytes(*, scores_all: bool = False, weights: npt.NDArray[np.float32] = WEIGHTS) -> bytes:
    """sigmoid(x · weights) with NaN read as 0; NaN where the first input is negative, unless it ``scores_all``."""
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["plain"]),
        helper.make_node("MatMul", ["filled", "first"], ["amount"]),
        helper.make_node("Abs" if scores_all else "Sqrt", ["amount"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["nothing"]),
        helper.make_node("Add", ["plain", "nothing"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "taps",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        initializer=[
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([[1], [0], [0]], dtype=np.float32), "first"),
            numpy_helper.from_array(np.array(0, dtype=np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def add_model(
    pipeline: Pipeline,
    settings: Settings,
    inputs: tuple[str, ...] | None = None,
    *,
    scores_all: bool = False,
    weights: npt.NDArray[np.float32] = WEIGHTS,
) -> None:
    """Write the model into the repository, as training would; ``inputs`` are the inputs it declares."""
    trained = TrainedModel(onnx_bytes(scores_all=scores_all, weights=weights), None, manifest_of(pipeline, inputs))
    ModelRepository(settings.model_repository).add(pipeline.model.name, trained)


def manifest_of(pipeline: Pipeline, inputs: tuple[str, ...] | None = None) -> ModelManifest:
    """The manifest of a model of the pipeline, as if it had been trained; ``inputs`` are the inputs it declares."""
    return ModelManifest(
        inputs=inputs or pipeline.model.inputs,
        baseline_inputs=(),
        views={view.name: f"{view.version}:{view.hash}" for view in compile_plan(pipeline).views},
        seed=0,
        data_hash="0",
        until_ms=None,
        rows=0,
        positives=0,
        iterations=0,
        read={},
        validation=Validation(from_ms=0, rows=0, positives=0, auc=0.5, auc_without_windows=None),
        libraries={},
    )


def load_model(pipeline: Pipeline, settings: Settings) -> None:
    with contextlib.closing(open_server(PRIMARY_SERVER, settings)) as server:
        load_version(ModelRepository(settings.model_repository), server, pipeline.model.name)


def unload_model(pipeline: Pipeline, settings: Settings) -> None:
    with contextlib.closing(open_server(PRIMARY_SERVER, settings)) as server:
        server.unload(pipeline.model.name)


def penstock(*arguments: str, crash: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """``penstock`` as a process, which may kill itself at a point of its n-th transaction."""
    module = ("tests.scoring.crashing_scorer", *crash) if crash else ("penstock",)
    command = [sys.executable, "-m", *module, *arguments]
    return subprocess.run(
        command, check=False, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300
    )


@dataclass
class ScorerBench:
    """One pipeline on the stack: its topics, its feed and its predictions."""

    reference: str
    pipeline: Pipeline
    settings: Settings
    folder: Path
    sent: list[tuple[int, int]] = field(default_factory=list)
    _timestamps: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._producer = Producer({**self.settings.kafka.access.client(), "linger.ms": 0})
        self._encoder = Encoder(features_schema(compile_plan(self.pipeline)))
        self._next = dict.fromkeys(range(self.pipeline.source.partitions), 0)
        self._undelivered: list[str] = []

    def create_topics(self) -> None:
        create_topics(pipeline_topics(self.pipeline), self.settings.kafka.access)

    def configure(self, topic: str, setting: str, value: str) -> None:
        """Change one setting of a topic."""
        change = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
        admin = AdminClient(self.settings.kafka.access.client())
        admin.incremental_alter_configs([resource])[resource].result(15)

    def feed(self, events: int) -> None:
        """Emit the features of new events, over all partitions in turn."""
        for number in range(events):
            partition = number % self.pipeline.source.partitions
            self.emit(partition, self._next[partition])
            self.sent.append((partition, self._next[partition]))
            self._next[partition] += 1

    def emit(self, partition: int, offset: int, **changes: Any) -> None:
        """Emit the features of one raw event (again)."""
        self.emit_bytes(
            partition, self._encoder.encode(self.record(partition, offset, **changes)), key=b"card-%d" % partition
        )

    def emit_compressed(self, partition: int, value: bytes) -> None:
        """Emit a record that is longer than producers and topics take, and shorter when compressed."""
        producer = Producer(
            {**self.settings.kafka.access.client(), "message.max.bytes": 200_000_000, "compression.type": "zstd"}
        )
        producer.produce(self.pipeline.features_topic, value, partition=partition)
        assert producer.flush(60) == 0

    def emit_bytes(self, partition: int, value: bytes | None, key: bytes | None = None, headers: Any = None) -> None:
        self._producer.produce(
            self.pipeline.features_topic,
            value,
            key=key,
            partition=partition,
            headers=headers,
            on_delivery=self._has_delivered,
        )
        self._producer.poll(0)

    def _has_delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._undelivered.append(f"{message.topic()}[{message.partition()}]: {error.str()}")

    def encode(self, record: dict[str, Any]) -> bytes:
        return self._encoder.encode(record)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0
        assert self._undelivered == []

    def record(self, partition: int, offset: int, **changes: Any) -> dict[str, Any]:
        """The feature record of a raw event; it is always the same, except for ``changes``."""
        now = self._timestamps.setdefault((partition, offset), time.time_ns() // 1_000_000)
        return {
            "event_id": f"{partition}-{offset}",
            "event_time": now,
            "trigger": "event",
            "attempt": 0,
            "source": {
                "topic": self.pipeline.source.topic,
                "partition": partition,
                "offset": offset,
                "timestamp": now,
            },
            "event": {"amount": amount_of(offset)},
            "activity": {
                "entity": f"card-{partition}",
                "epoch": 1,
                "seq": offset + 1,
                "as_of": now,
                "late": False,
                "count_1h": offset % 17,
                "amount_sum_1h": None if offset % 5 == 0 else float(offset % 23),
            },
            **changes,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """Every committed prediction, decoded."""
        decoder = record_decoder("prediction")
        return [decoder.decode(message.value()) for message in self.messages(self.pipeline.predictions_topic)]

    def dead_letters(self) -> list[Message]:
        return self.messages(dead_letters_of(self.pipeline.predictions_topic))

    def scored_events(self) -> list[tuple[int, int]]:
        """Partition and offset of the raw event of every committed prediction, sorted."""
        return sorted(event_position(prediction)[1:3] for prediction in self.predictions())

    def account_of(self, missing: Sequence[tuple[int, int]]) -> str:
        """Where the features of events without a prediction are, for the message of a test that fails."""
        kafka = self.settings.kafka.access
        decoder = Decoder(features_schema(compile_plan(self.pipeline)))
        places: dict[tuple[int, int], list[int]] = {}
        for message in read(kafka, self.pipeline.features_topic, self.pipeline.source.partitions, "read_committed"):
            with contextlib.suppress(Exception):  # the junk that some tests write
                source = decoder.decode(message.value())["source"]
                places.setdefault((source["partition"], source["offset"]), []).append(message.offset())
        lines = [f"{len(missing)} of {len(self.sent)} events have no prediction; lag {self.lag()}"]
        lines += [f"{self.pipeline.features_topic}[{p}]@{places.get((p, at))} is of {at}" for p, at in missing[:20]]
        letters = [DeadLetter.read(m.key(), m.value(), m.headers()) for m in self.dead_letters()]
        lines += [f"letter of [{one.partition}]@{one.offset}: {one.reason} {one.message}" for one in letters[:20]]
        return "\n".join(lines)

    def written(self) -> int:
        """Number of prediction records on the broker, those of open and aborted transactions included."""
        partitions = self.pipeline.source.partitions
        messages = read(self.settings.kafka.access, self.pipeline.predictions_topic, partitions, "read_uncommitted")
        return sum(1 for _ in messages)

    def messages(self, topic: str) -> list[Message]:
        """Every committed message of a topic; waits until open transactions have ended."""
        return list(read(self.settings.kafka.access, topic, self.pipeline.source.partitions, "read_committed"))

    def lag(self) -> int:
        """The number of feature records that the scorers' group has not committed; -1 while the broker cannot tell."""
        consumer = Consumer(
            {
                **self.settings.kafka.access.client(),
                "group.id": f"penstock-{self.pipeline.name}-scorer",
                "isolation.level": "read_committed",
            }
        )
        try:
            partitions = [TopicPartition(self.pipeline.features_topic, p) for p in self._next]
            try:
                committed = consumer.committed(partitions, timeout=60)
            except KafkaException:
                return -1  # the group's coordinator is still being found
            ends = [consumer.get_watermark_offsets(tp, timeout=10)[1] for tp in partitions]
            return sum(end - max(tp.offset, 0) for end, tp in zip(ends, committed, strict=True))
        finally:
            consumer.close()

    def look_back(self, partition: int) -> LookBack:
        """What the last commit of a partition says of the events that are scored."""
        group = f"penstock-{self.pipeline.name}-scorer"
        consumer = Consumer({**self.settings.kafka.access.client(), "group.id": group})
        try:
            (position,) = consumer.committed([TopicPartition(self.pipeline.features_topic, partition)], timeout=10)
        finally:
            consumer.close()
        look_back = LookBack.load(position.metadata)
        assert look_back is not None, position.metadata
        return look_back

    def wait_until_drained(self, timeout_s: float = 90) -> None:
        """Wait until the scorers have committed every feature record."""
        self.flush()
        wait_for(lambda: self.lag() == 0, timeout_s, f"scorers of {self.pipeline.name} to catch up")

    def start(self, instance: str = "0", *options: str, module: Sequence[str] = ("penstock",)) -> ScorerProcess:
        return ScorerProcess(self, instance, options, module)

    @contextlib.contextmanager
    def scoring(self, instance: str = "0", *options: str) -> Iterator[ScorerProcess]:
        """A scorer that runs for the duration of the block, and must exit with 0."""
        process = self.start(instance, *options)
        try:
            yield process
        except BaseException:
            print(process.log())
            process.kill()
            raise
        process.stop()


class ScorerProcess:
    """``penstock scorer run`` as a process, with its log in a file."""

    def __init__(self, bench: ScorerBench, instance: str, options: Iterable[str], module: Sequence[str]) -> None:
        self._log = bench.folder / f"scorer-{instance}-{time.monotonic_ns()}.log"
        # A busy machine is no failure of Triton.
        command = [sys.executable, "-m", *module, "scorer", "run", bench.reference, "--deadline-ms", "5000"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--instance", instance, *options], stdout=log, stderr=log, cwd=ROOT, env=dict(os.environ)
            )

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log()

    def wait_for_error(self, timeout_s: float = 60) -> str:
        """The output of a scorer that ends by itself with an error."""
        assert self.process.wait(timeout_s) == 1, self.log()
        return self.log()

    def wait_for_log(self, text: str, timeout_s: float = 60) -> None:
        wait_for(lambda: text in self.log() or self.process.poll() is not None, timeout_s, f"{text!r} in the log")
        assert text in self.log(), self.log()


def amount_of(offset: int) -> float:
    return (offset % 11) / 4


def read(kafka: KafkaAccess, topic: str, partitions: int, isolation: str) -> Iterator[Message]:
    """Every message of a topic up to its current end, with that isolation level."""
    consumer = Consumer(
        {
            **kafka.client(),
            "group.id": "test-reader",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    uncommitted = Consumer({**kafka.client(), "group.id": "test-reader", "isolation.level": "read_uncommitted"})
    try:
        assigned = [TopicPartition(topic, p, 0) for p in range(partitions)]
        ends = {tp.partition: uncommitted.get_watermark_offsets(tp, timeout=10)[1] for tp in assigned}
        consumer.assign(assigned)
        deadline = time.monotonic() + 90
        open_ = {p for p, end in ends.items() if end > 0}
        while open_:
            assert time.monotonic() < deadline, f"{topic}: partitions {open_} cannot be read to {ends}"
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error() is None:
                yield message
                position = message.offset() + 1
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                position = message.offset()
            if position >= ends[message.partition()]:
                open_.discard(message.partition())
    finally:
        consumer.close()
        uncommitted.close()


class Feed(Protocol):
    """The bench that :func:`feeding` feeds."""

    def feed(self, events: int) -> None: ...


@contextlib.contextmanager
def feeding(bench: Feed, per_burst: int = 20, pause_s: float = 0.01) -> Iterator[None]:
    """Feed events in the background for the duration of the block."""
    done = threading.Event()

    def feed() -> None:
        while not done.wait(pause_s):
            bench.feed(per_burst)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
