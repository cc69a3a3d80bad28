"""The time from sending a raw event to its features and to its prediction, at a steady rate, and of bare Kafka hops.

The id of each event holds the time at which it was sent; the readers of the topics compare it with their own clock.
Sender, relays and readers are separate processes, so that none waits for the interpreter of another.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import Topic
from penstock.kafka.topics import admin_client, create_topics
from penstock.paths import ROOT
from schemas.codec import Encoder
from streams.plan.feature_records import features_schema
from streams.plan.project import open_project
from tests.bench.pipeline.definition import PARTITIONS
from tests.bench.pipeline.parts import Pipeline
from tests.bench.pipeline.raw_events import DISTINCT, payment
from tests.bench.scoring.features import records

Quantiles = dict[str, float]
_SENT = re.compile(rb"\d{19}")
_SETTLE_S = 12.0
_SOAK_RATE = 2_000
_MINUTE_S = 60.0


def through(
    pipeline: Pipeline, parts: Sequence[str], rates: Sequence[int], seconds: float, soak_s: float
) -> dict[str, object]:
    """Latencies in milliseconds at each rate, with the job and these parts running, and the memory of each part.

    ``latency_ms``: for each rate, from the raw event to its ``features`` and to its ``prediction``. ``memory_mb``: of
    each part, after each rate and then at each minute of ``soak_s`` seconds at 2,000 events a second.
    """
    kafka, source = pipeline.settings.kafka.access, pipeline.definition.source.topic
    topics = pipeline.definition.features_topic, pipeline.definition.predictions_topic
    with pipeline.job() as taskmanager, ExitStack() as running:
        pids = {"job": taskmanager} | {part: running.enter_context(pipeline.part(part)).pid for part in parts}
        found, memory = {}, []
        for rate in rates:
            results = _paced(kafka, source, topics, rate, seconds)
            found[str(rate)] = dict(zip(("features", "prediction"), results, strict=True))
            memory.append({part: _resident_mb(pid) for part, pid in pids.items()})
        with child("send", kafka, source, str(_SOAK_RATE), str(soak_s)):
            for _ in range(int(soak_s / _MINUTE_S)):
                time.sleep(_MINUTE_S)
                memory.append({part: _resident_mb(pid) for part, pid in pids.items()})
    return {"latency_ms": found, "memory_mb": memory}


def floor(kafka: KafkaAccess, rates: Sequence[int], seconds: float) -> dict[str, Quantiles]:
    """The latency of two bare hops at each rate: one that copies, and one that copies in transactions."""
    found = {}
    for rate in rates:
        names = [f"bench.floor.{step}.{rate}" for step in ("raw", "middle", "out")]
        create_topics([Topic(name, PARTITIONS) for name in names], kafka)
        with child("relay", kafka, *names[:2]), child("transactions", kafka, *names[1:]):
            (found[str(rate)],) = _paced(kafka, names[0], names[2:], rate, seconds)
        admin = admin_client(kafka)
        for deletion in admin.delete_topics(names).values():
            deletion.result(30)
    return found


def of_scorer(pipeline: Pipeline, rate: int, seconds: float) -> dict[str, Quantiles]:
    """The latency from a feature record to its prediction, and of one bare hop that copies it in a transaction."""
    kafka, definition = pipeline.settings.kafka.access, pipeline.definition
    send, copies = ("send-features", str(pipeline.file)), f"copies.{pipeline.name}"
    create_topics([Topic(copies, PARTITIONS)], kafka)
    with pipeline.part("scorer"):
        (scored,) = _paced(kafka, definition.features_topic, (definition.predictions_topic,), rate, seconds, send)
    with child("transactions", kafka, definition.features_topic, copies):
        (copied,) = _paced(kafka, definition.features_topic, (copies,), rate, seconds, send)
    return {"latency_ms": scored, "floor_ms": copied}


def _paced(
    kafka: KafkaAccess,
    source: str,
    targets: Sequence[str],
    rate: int,
    seconds: float,
    send: Sequence[str] = ("send",),
) -> list[Quantiles]:
    role, *arguments = send
    with ExitStack() as children:
        readers = [
            children.enter_context(child("read", kafka, target, str(_SETTLE_S), str(seconds))) for target in targets
        ]
        length = str(_SETTLE_S + seconds + 5)
        children.enter_context(child(role, kafka, source, str(rate), length, *arguments))
        try:
            return [json.loads(reader.communicate(timeout=_SETTLE_S + seconds + 60)[0]) for reader in readers]
        except subprocess.TimeoutExpired as error:
            raise PenstockError(f"no results came to {', '.join(targets)}") from error


@contextmanager
def child(role: str, kafka: KafkaAccess, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a role of this module as a process, for the duration of the block."""
    command = [sys.executable, "-m", __name__, role, kafka.model_dump_json(), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _resident_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _send(kafka: KafkaAccess, topic: str, rate: str, seconds: str) -> None:
    """Send raw events at an even rate."""
    chance = np.random.default_rng(1)

    def event(now_ns: int) -> tuple[int, bytes]:
        card, shop, device = (DISTINCT * chance.random(3) ** 3).astype(int).tolist()
        return card % PARTITIONS, payment(str(now_ns), now_ns // 1_000_000, card, shop, device, card / 4)

    _send_evenly(kafka, topic, int(rate), float(seconds), event)


def _send_features(kafka: KafkaAccess, topic: str, rate: str, seconds: str, file: str) -> None:
    """Send feature records at an even rate."""
    project = open_project(file)
    encode = Encoder(features_schema(project.plan)).encode
    drawn = records(project.pipeline, project.plan, 10**9, time.time_ns() // 1_000_000)

    def record(now_ns: int) -> tuple[int, bytes]:
        partition, values = next(drawn)
        return partition, encode(values | {"event_id": str(now_ns)})

    _send_evenly(kafka, topic, int(rate), float(seconds), record)


def _send_evenly(
    kafka: KafkaAccess, topic: str, rate: int, seconds: float, made_at: Callable[[int], tuple[int, bytes]]
) -> None:
    # One request at a time: events that arrive meanwhile share the next one, and none waits in a queue of requests.
    producer = Producer({**kafka.client(), "linger.ms": 1, "acks": 1, "max.in.flight": 1})
    begin, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < seconds:
        while sent < passed * rate:
            partition, value = made_at(time.time_ns())
            producer.produce(topic, value, partition=partition)
            sent += 1
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush(10)


def _relay(kafka: KafkaAccess, source: str, target: str) -> None:
    """Copy each record as it arrives, until the process is ended."""
    producer = Producer({**kafka.client(), "linger.ms": 0})
    consumer = _consumer(kafka, source)
    while True:
        for message in consumer.consume(500, 0.001):
            producer.produce(target, message.value(), message.key(), message.partition())
        producer.poll(0)


def _relay_in_transactions(kafka: KafkaAccess, source: str, target: str) -> None:
    """Copy what has arrived in one transaction, until the process is ended."""
    identity = {"transactional.id": target, "retry.backoff.ms": 1, "linger.ms": 0}
    producer = Producer({**kafka.client(), **identity})
    producer.init_transactions(30)
    consumer = _consumer(kafka, source)
    while True:
        if messages := consumer.consume(500, 0.001):
            producer.begin_transaction()
            for message in messages:
                producer.produce(target, message.value(), message.key(), message.partition())
            producer.commit_transaction(30)


def _read(kafka: KafkaAccess, topic: str, warm_s: str, seconds: str, isolation: str = "read_committed") -> None:
    """Print the quantiles of what arrives after the warm-up."""
    consumer, taken = _consumer(kafka, topic, isolation), []
    begin = time.perf_counter()
    first: float | None = None
    while first is None or time.perf_counter() - first < float(warm_s) + float(seconds):
        for message in consumer.consume(500, 0.001):
            now, value = time.time_ns(), message.value()
            sent = None if value is None else _SENT.search(value)
            # Records of an earlier rate, or of the other ways of running, are not counted.
            if sent is None or (at := int(sent.group())) < now - (time.perf_counter() - begin) * 1e9:
                continue
            first = time.perf_counter() if first is None else first
            if time.perf_counter() - first > float(warm_s):
                taken.append((now - at) / 1e6)
    p50, p99, longest = np.quantile(taken, (0.5, 0.99, 1.0)).round(1).tolist()
    sys.stdout.write(json.dumps({"p50": p50, "p99": p99, "max": longest, "events": len(taken)}))


def _consumer(kafka: KafkaAccess, topic: str, isolation: str = "read_committed") -> Consumer:
    """A consumer of what is published from now on."""
    consumer = Consumer(
        {
            **kafka.client(),
            "group.id": "bench",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "fetch.wait.max.ms": 5,
            "fetch.queue.backoff.ms": 1,
        }
    )
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    ends = [consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions]
    consumer.assign([TopicPartition(topic, one.partition, end) for one, end in zip(partitions, ends, strict=True)])
    return consumer


if __name__ == "__main__":
    role, access, *rest = sys.argv[1:]
    roles: dict[str, Callable[..., None]] = {
        "send": _send,
        "send-features": _send_features,
        "relay": _relay,
        "transactions": _relay_in_transactions,
        "read": _read,
    }
    roles[role](KafkaAccess.model_validate_json(access), *rest)
