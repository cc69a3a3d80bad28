"""The gateway as a process on real Kafka, Triton and a scorer; in place of the job, a thread emits features."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from penstock.client import Client
from penstock.client.reading import AnswerReader, Topic
from penstock.gateway.gateway_pb2 import Answer, AskRequest
from penstock.kafka.topics import admin_client
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.avro import contract_schema
from schemas.codec import Decoder
from schemas.dead_letters import DeadLetter
from tests.scoring.scorer_bench import (
    ScorerBench,
    add_model,
    define,
    expected_score,
    load_model,
    unload_model,
    wait_for,
)

PARTITIONS = 2
LONG_MS, SHORT_MS = 30_000, 400


class StandInJob:
    """Emits a feature record for each raw event, once for each id, and refuses those of the future."""

    def __init__(self, bench: ScorerBench) -> None:
        self._bench, self._seen, self._stop = bench, set[str](), threading.Event()
        source = bench.pipeline.source
        kafka = bench.settings.kafka.access.client()
        self._decoder = Decoder(contract_schema(source.contract))
        self._producer = Producer(kafka)
        self._consumer = Consumer({**kafka, "group.id": f"stand-in-{bench.pipeline.name}"})
        self._consumer.assign([TopicPartition(source.topic, number, 0) for number in range(PARTITIONS)])
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        pipeline = self._bench.pipeline
        while not self._stop.is_set():
            message = self._consumer.poll(0.05)
            if message is None or message.error():
                continue
            event, partition, offset = self._decoder.decode(message.value()), message.partition(), message.offset()
            timestamp = message.timestamp()[1]
            if event["event_time"] > timestamp + 60_000:
                place = (pipeline.source.topic, partition, offset, pipeline.name, "validate", "penstock.job")
                letter = DeadLetter(*place, "penstock.FutureEvent", "event_time: too far ahead", value=message.value())
                self._producer.produce(
                    pipeline.source.dead_letter_topic, letter.value, partition=partition, headers=letter.headers()
                )
                self._producer.flush(10)
            elif event["tap_id"] not in self._seen:
                self._seen.add(event["tap_id"])
                source = {"topic": pipeline.source.topic, "partition": partition, "offset": offset}
                self._bench.emit(
                    partition,
                    offset,
                    event_id=event["tap_id"],
                    event_time=event["event_time"],
                    event={"amount": event["amount"]},
                    source=source | {"timestamp": timestamp},
                )


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ScorerBench]:
    """A pipeline with topics and a loaded model."""
    reference, pipeline = define(tmp_path, suffix, PARTITIONS)
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    add_model(pipeline, settings)
    load_model(pipeline, settings)
    yield bench
    with contextlib.suppress(Exception):
        unload_model(pipeline, settings)


@contextlib.contextmanager
def gateway(bench: ScorerBench) -> Iterator[tuple[httpx.Client, grpc.Channel]]:
    """A gateway for the duration of the block, which must exit with 0."""
    command = [sys.executable, "-m", "penstock", "gateway", "run", bench.reference, "--fallback", "ask"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--grpc-port", "0", "--most-deadline-ms", str(LONG_MS)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=dict(os.environ),
        text=True,
    )
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(2))
    http, rpc = re.search(r"http://\S+", said), re.search(r"gRPC at (\S+)", said)
    try:
        assert http is not None
        assert rpc is not None
        with (
            httpx.Client(base_url=f"{http[0]}/v1/{bench.pipeline.name}", timeout=60) as client,
            grpc.insecure_channel(rpc[1]) as channel,
        ):
            yield client, channel
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def tap(tap_id: str, amount: float = 1.5, **changes: Any) -> dict[str, Any]:
    return {"tap_id": tap_id, "event_time": time.time_ns() // 1_000_000, "card": "c-1", "amount": amount, **changes}


def raw_events(bench: ScorerBench) -> int:
    return len(bench.messages(bench.pipeline.source.topic))


def test_an_event_gets_its_prediction_or_in_time_the_fallback_and_is_sent_once(bench: ScorerBench) -> None:
    with StandInJob(bench), gateway(bench) as (http, channel):
        event = tap("a")
        with bench.scoring():
            first = http.post("/events", params={"deadline-ms": LONG_MS}, json=event).json()
            assert (first["source"], first["model_version"], first["reason"]) == ("model", "1", None)
            assert first["score"] == pytest.approx(expected_score(1.5, None, 0), abs=1e-6)
            assert http.post("/events", json=event).json() == first
            ask = channel.unary_unary(
                "/penstock.gateway.v1.Gateway/Ask", AskRequest.SerializeToString, Answer.FromString
            )
            by_rpc = ask(AskRequest(pipeline=bench.pipeline.name, event=json.dumps(event).encode()), timeout=60)
            assert (by_rpc.score, by_rpc.waited_ms) == (first["score"], first["waited_ms"])
            assert http.post("/events", json=event | {"amount": 2.0}).status_code == 409
            assert http.post("/events", json=event | {"amount": "2.0"}).json()["field"] == "amount"
            ahead = http.post(
                "/events", params={"deadline-ms": LONG_MS}, json=tap("ahead", event_time=4_000_000_000_000)
            )
            assert (ahead.status_code, ahead.json()["error"]) == (422, "penstock.FutureEvent")
            # Another client, as after a restart: what was predicted before is not sent again.
            with Client(bench.reference, fallback="ask", settings=bench.settings) as client:
                assert client.ask(event, deadline_ms=LONG_MS).score == first["score"]
        assert raw_events(bench) == 2

        late = tap("late")
        answer = http.post("/events", params={"deadline-ms": SHORT_MS}, json=late).json()
        assert (answer["decision"], answer["source"], answer["reason"]) == ("ask", "fallback", "late")
        with bench.scoring("1"):
            wait_for(lambda: http.get("/events/late").json()["prediction"] is not None, 60, "the late prediction")
            assert http.post("/events", json=late).json() == answer
        known = http.get("/events/late").json()
        assert (known["answer"], known["prediction"]["model_version"]) == (answer, "1")
        assert raw_events(bench) == 3


def test_the_reader_looks_back_passes_over_garbage_and_reads_partitions_that_come_later(
    settings: Settings, create_topic: Callable[..., str], suffix: str
) -> None:
    kafka = settings.kafka.access
    topic = create_topic(f"answers-{suffix}")
    admin = admin_client(kafka)
    read: list[int] = []
    unreadable: list[None] = []

    def send(*values: bytes, partition: int = 0) -> None:
        producer = Producer(kafka.client())  # which learns of all partitions
        for value in values:
            producer.produce(topic, value, partition=partition)
        assert producer.flush(10) == 0

    send(b"1", b"2", b"3")
    reader = AnswerReader(
        kafka,
        {topic: Topic(lambda message: read.append(int(message.value())), look_back=2)},
        lambda: unreadable.append(None),
    )
    reader.start()
    assert read == [2, 3]
    send(b"garbage", b"4")
    wait_for(lambda: read[-1] == 4, 30, "a record after garbage")
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(15)
    wait_for(lambda: len(admin.list_topics(topic, timeout=5).topics[topic].partitions) == 2, 30, "the partition")
    send(b"5", partition=1)
    reader.look_for_partitions()
    wait_for(lambda: read[-1] == 5, 30, "a record of the new partition")
    reader.close()
    assert len(unreadable) == 1
