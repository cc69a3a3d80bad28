"""Measures the latency from a raw event to its features, and of two bare Kafka hops at the same rate.

The id of each event is the time at which it was sent; the reader of the results compares it with its own clock. Sender,
relay and reader are separate processes, so that none waits for the interpreter of another.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.paths import ROOT
from tests.bench.engine import bench_topics
from tests.bench.engine.bench_stack import BenchStack
from tests.bench.engine.engines import PENSTOCK
from tests.bench.engine.measure import Pace
from tests.bench.engine.workload import Workload

Quantiles = dict[str, float]
_SENT = re.compile(rb"\d{19}")
_PACED = Workload(events=0, entities=1_000)


def latency(stack: BenchStack, rate: int, pace: Pace, name: str) -> tuple[Quantiles, Quantiles]:
    """p50 and p99 in milliseconds at ``rate`` events per second: through Penstock, and through a relay that copies."""
    source = f"events.{name}"
    bench_topics.create(stack.kafka, source)
    with PENSTOCK.start(stack, _PACED, source, name) as running:
        engine = _paced(stack, source, running.target, rate, pace)
    copied, copies = f"events.{name}.bare", f"results.{name}.bare"
    for topic in (copied, copies):
        bench_topics.create(stack.kafka, topic)
    with _child("relay", stack.kafka, copied, copies):
        floor = _paced(stack, copied, copies, rate, pace)
    bench_topics.delete(stack.kafka, [source, running.target, copied, copies])
    return engine, floor


def _paced(stack: BenchStack, source: str, target: str, rate: int, pace: Pace) -> Quantiles:
    seconds = pace.settle_s + pace.measure_s
    with (
        _child("read", stack.kafka, target, str(pace.settle_s), str(pace.measure_s)) as reader,
        _child("send", stack.kafka, source, str(rate), str(seconds + 1)),
    ):
        try:
            out, _ = reader.communicate(timeout=seconds + 60)
        except subprocess.TimeoutExpired as error:
            raise PenstockError(f"no results came to {target}") from error
    found: Quantiles = json.loads(out)
    return found


@contextmanager
def _child(role: str, kafka: KafkaAccess, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", __name__, role, kafka.model_dump_json(), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _send(kafka: KafkaAccess, topic: str, rate: str, seconds: str) -> None:
    """Send events at an even rate."""
    # A request per event would cost this process, on two cores, more than the engine has: both ways wait alike.
    producer = Producer({**kafka.client(), "linger.ms": 1, "acks": 1})
    chance = np.random.default_rng(1)
    begin, sent, last = time.perf_counter(), 0, float(seconds)
    while (passed := time.perf_counter() - begin) < last:
        while sent < passed * int(rate):
            one, two, three = chance.integers(0, _PACED.entities, 3).tolist()
            now = time.time_ns()
            value = (
                f'{{"event_id":"{now}","event_time":{now // 1_000_000},"card":"c{one}","merchant":"m{two}",'
                f'"terminal":"t{three}","amount":{one}.5}}'
            )
            producer.produce(topic, value, b"c%d" % one, 0)
            sent += 1
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush(10)


def _relay(kafka: KafkaAccess, source: str, target: str) -> None:
    """Copy each record as it arrives, until the process is ended."""
    producer = Producer({**kafka.client(), "linger.ms": 0, "acks": 1})
    consumer = _consumer(kafka, source)
    while True:
        for message in consumer.consume(500, 0.001):
            producer.produce(target, message.value(), message.key(), 0)
        producer.poll(0)


def _read(kafka: KafkaAccess, topic: str, warm_s: str, seconds: str) -> None:
    """Print the quantiles of what arrives after the warm-up."""
    consumer, taken = _consumer(kafka, topic), []
    first: float | None = None
    while first is None or time.perf_counter() - first < float(warm_s) + float(seconds):
        for message in consumer.consume(500, 0.001):
            now = time.time_ns()
            first = time.perf_counter() if first is None else first
            if time.perf_counter() - first > float(warm_s):
                taken.append((now - _sent_ns(message.value())) / 1e6)
    p50, p99 = np.quantile(taken, (0.5, 0.99)).tolist()
    sys.stdout.write(json.dumps({"p50": p50, "p99": p99, "events": len(taken)}))


def _sent_ns(record: bytes) -> int:
    """The id of an event, 19 digits: in JSON as sent, and carried along in feature records."""
    found = _SENT.search(record)
    assert found is not None, record
    return int(found.group())


def _consumer(kafka: KafkaAccess, topic: str) -> Any:
    settings = {"group.id": "bench", "enable.auto.commit": False, "fetch.wait.max.ms": 5, "fetch.queue.backoff.ms": 1}
    consumer = Consumer({**kafka.client(), **settings})
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


if __name__ == "__main__":
    role, access, *rest = sys.argv[1:]
    {"send": _send, "relay": _relay, "read": _read}[role](KafkaAccess.model_validate_json(access), *rest)
