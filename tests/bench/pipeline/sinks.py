"""How many feature records a second one process of each sink writes, and the CPU time of each.

``python -m tests.bench.pipeline.sinks`` starts a stack, fills the features topic, and runs one sink after the other, as
users run them. ``--code FOLDER`` measures the sinks of another working copy on the same stack and records, before
those of this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import create_topics
from penstock.paths import BUILD, ROOT
from penstock.settings import Settings
from sinks.runner import group_id
from streams.plan.pipeline_topics import pipeline_topics
from tests.bench.engine import process_cpu
from tests.bench.pipeline import bench_pipeline
from tests.bench.pipeline.feature_load import feature_records, fill

EVENTS: Mapping[str, int] = {"redis": 150_000, "cassandra": 80_000}
"""Events for each sink: enough for some seconds."""
# The first part of the events, while the server's code is compiled and the sink's caches are filled.
_WARM_UP = 0.35
_TAIL = 0.02
_LONGEST_S = 150.0


@dataclass(frozen=True)
class SinkRate:
    """What was measured.

    Args:
        events_per_s: Feature records a second, by the offsets that the sink committed.
        rows_per_s: The same in vectors.
        seconds: How long it was measured.
        cpu_us: CPU time for each event, in microseconds: of the sink, of the store's server and of the broker.
    """

    events_per_s: float
    rows_per_s: float
    seconds: float
    cpu_us: Mapping[str, float]


def measure(stack: Stack, kafka: KafkaAccess, store: str, code: Path, events: int, log: Path) -> SinkRate:
    """Run the sink of a working copy on the features topic, which holds ``events`` records."""
    environment = {**os.environ, **stack.environment(), "PYTHONPATH": str(code)}
    file = Path(bench_pipeline.__file__)
    command = [sys.executable, "-m", "penstock", "sink", "run", store, str(file)]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=code, env=environment, stderr=output)
    pids = {"sink": process.pid, "server": stack.pid(store), "broker": stack.pid("kafka")}
    consumer = Consumer({**kafka.client(), "group.id": group_id(bench_pipeline.NAME, store)})
    try:
        begin = _await(consumer, process, pids, events * _WARM_UP, log)
        end = _await(consumer, process, pids, events * (1 - _TAIL), log)
    finally:
        consumer.close()
        process.terminate()
        process.wait(30)
    count, seconds = end.count - begin.count, end.time - begin.time
    used = {part: round((end.cpu[part] - begin.cpu[part]) * 1e6 / count, 1) for part in pids}
    rate = count / seconds
    return SinkRate(round(rate), round(rate * len(bench_pipeline.views)), round(seconds, 1), used)


@dataclass(frozen=True)
class _Moment:
    time: float
    count: int
    cpu: Mapping[str, float]


def _await(
    consumer: Consumer, process: subprocess.Popen[bytes], pids: Mapping[str, int], least: float, log: Path
) -> _Moment:
    """The moment of the first commit of at least this many records."""
    partitions = [TopicPartition(bench_pipeline.pipeline.features_topic, n) for n in range(bench_pipeline.PARTITIONS)]
    deadline = time.monotonic() + _LONGEST_S
    while True:
        try:
            found = consumer.committed(partitions, timeout=20)
        except KafkaException:  # a group that is new has no coordinator yet
            found = []
        now, count = time.monotonic(), sum(max(0, partition.offset) for partition in found)
        if count >= least:
            return _Moment(now, count, {part: process_cpu.seconds(pid) for part, pid in pids.items()})
        if process.poll() is not None or now > deadline:
            raise PenstockError(f"the sink wrote {count} of {least:.0f} records", where=str(log))
        time.sleep(0.02)


def main(arguments: list[str] | None = None) -> int:
    """Measure; prints a line of JSON for each sink and working copy."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pipeline.sinks", description=__doc__)
    parser.add_argument("--code", type=Path, action="append", default=[], help="another working copy, measured first")
    parser.add_argument("--store", action="append", choices=list(EVENTS), help="only this sink")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where the stack and logs go")
    parser.add_argument("--home", type=Path, help="use this running stack, instead of one of its own")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    stores = options.store or list(EVENTS)
    stack = Stack(options.home) if options.home else Stack(options.folder / "sink-stack", Ports.free())
    try:
        if not options.home:
            stack.up(["kafka", *stores])
        os.environ.update(stack.environment())
        kafka = Settings().kafka.access
        number = 0
        for store in stores:
            for code in (*options.code, ROOT):
                number += 1
                _with_topics(kafka, EVENTS[store], number)
                log = options.folder / f"sink-{store}.log"
                rate = measure(stack, kafka, store, code.resolve(), EVENTS[store], log)
                name = "now" if code == ROOT else str(code)
                sys.stdout.write(json.dumps({store: {name: asdict(rate)}}) + "\n")
                sys.stdout.flush()
    finally:
        if not options.home:
            stack.down(wipe=True)
    return 0


def _with_topics(kafka: KafkaAccess, events: int, seed: int) -> None:
    """New topics, the features topic full; deletes those of an earlier run, and their groups."""
    topics = pipeline_topics(bench_pipeline.pipeline)
    admin = AdminClient(kafka.client())
    existing = admin.list_topics(timeout=20).topics
    old = [topic.name for topic in topics if topic.name in existing]
    for deletion in (admin.delete_topics(old) if old else {}).values():
        deletion.result(30)
    groups = [group_id(bench_pipeline.NAME, store) for store in EVENTS]
    known = {group.group_id for group in admin.list_consumer_groups().result(30).valid}
    for group in known.intersection(groups):
        admin.delete_consumer_groups([group])[group].result(30)
    create_topics(topics, kafka)
    fill(kafka, bench_pipeline.pipeline.features_topic, feature_records(events, seed))


if __name__ == "__main__":
    sys.exit(main())
