"""New views of a running pipeline get their history and take over, whatever is killed: no gap, nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from backfill.live.manifest import fill_folder, load_fill
from backfill.live.run import discard_fill
from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.committed import export
from streams.flink import lifecycle
from streams.flink.rest import Flink
from streams.oracle.reference import Timed, accept_events, agrees, tolerance, vector
from streams.plan.project import Project, open_project
from tests.published import published
from tests.streams.job_bench import KEY, JobBench, define, payments, prepared, row
from verify.check_features import check_features
from verify.judged_sources import judged_source

PACE_PER_S = 5
BEFORE, AFTER, MOST = 400, 60, 6_000
PHASES = (
    "planned", "replaying", "replayed", "stopping", "stopped", "reading the rest", "filled", "joined", "started",
)  # fmt: skip
_NEW_VIEWS = """
paid = View(
    name="paid",
    version=1,
    entity=card,
    aggregates=(
        count(over=("5m", "7d")), sum_("cents", over="7d"), last("shop", over="7d"), last_k("shop", k=3, over="7d"),
        time_since_previous(over="7d"),
    ),
    derived={"against": Derived(sql="count_5m / by_card.count_5m", type="double")},
    refresh="1m",
)
sold = View(name="sold", version=1, entity=shop, aggregates=(count(over="7d"), max_("amount", over="7d")))
pair = Entity(name="pair", key=("card", "shop"))
pairs = View(name="pairs", version=1, entity=pair, aggregates=(count(over="7d"), sum_("cents", over="1h")))
"""


@dataclass
class World:
    """A pipeline with a running job, the definition with new views, and the events that come meanwhile."""

    bench: JobBench
    wanted: Project
    seed: int
    sent: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def send(self, events: list[dict[str, Any]]) -> None:
        # Some come twice.
        doubled = [event for event in events for _ in range(2 if event["id"].endswith("7") else 1)]
        self.bench.send(doubled)
        self.sent += doubled

    def command(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "penstock", "backfill", "run", self.wanted.reference, "--into", "live", *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def fill(self, more: tuple[str, ...] = (), *, kill_at: tuple[str, ...] = ()) -> None:
        """Run the command until it succeeds; before, kill it with SIGKILL at the beginning of each of these phases."""
        for phase in kill_at:
            self.outputs.append(self._killed(self.command(*more), phase))
        for _ in range(5 if kill_at else 1):  # while Flink is away, it may end with an error
            process = self.command(*more)
            self.outputs.append(process.communicate(timeout=600)[0])
            if process.returncode == 0:
                return
        raise AssertionError("\n---\n".join(self.outputs))

    def _killed(self, process: subprocess.Popen[str], phase: str) -> str:
        deadline = time.monotonic() + 600
        while process.poll() is None and not self.is_in(phase):
            assert time.monotonic() < deadline, f"{phase} was not reached"
            time.sleep(0.01)
        time.sleep(random.Random(f"{self.seed} {phase}").random())
        process.kill()
        return process.communicate()[0] + f"killed after it reached: {phase}"

    def is_in(self, phase: str) -> bool:
        """Whether a fill has come to a phase, or beyond."""
        fill = load_fill(fill_folder(self.bench.settings, self.wanted.name))
        if fill is None:
            return False
        try:
            with Flink(self.bench.settings.flink.rest) as flink:
                jobs = [job.name for job in flink.every_job()]
        except PenstockError:  # it was killed
            return False
        return {
            "planned": True,
            "replaying": f"{fill.group}-0" in jobs,
            "replayed": fill.segments[0].savepoint is not None,
            "stopping": fill.live_job is not None,
            "stopped": fill.live_savepoint is not None,
            "reading the rest": f"{fill.group}-1" in jobs,
            "filled": fill.segments[-1].live_savepoint is not None and fill.segments[-1].savepoint is not None,
            "joined": fill.joined is not None,
            "started": jobs.count(f"penstock-{self.wanted.name}") > 1,
        }[phase]


@pytest.fixture
def world(
    stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, suffix: str, tmp_path: Path
) -> Iterator[World]:
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)
    project = define(tmp_path, suffix)
    file = Path(project.reference)
    text = file.read_text(encoding="utf-8")
    text = text.replace("pipeline = Pipeline(", _NEW_VIEWS + "pipeline = Pipeline(")
    text = text.replace("entities=(card, shop)", "entities=(card, shop, pair)")
    text = text.replace("views=(by_card, by_shop)", "views=(by_card, paid, by_shop, sold, pairs)")
    extended = file.with_name(f"extended_{file.name}")
    extended.write_text(text, encoding="utf-8")
    bench = prepared(project, Settings())
    wanted = open_project(str(extended))
    for each in (project, wanted):
        export(each.forms, each.schemas)
    yield World(bench, wanted, seed=int(suffix.encode().hex(), 16) % 1_000)
    with Flink(Settings().flink.rest) as flink:
        for job in flink.every_job():
            if suffix in job.name and job.is_active:
                flink.cancel(job.id)


def run(world: World, *, parallelism: int = 1, backend: str = "heap", **fill: Any) -> Counter[str]:
    """Fill while events come, and check everything that the features topic then has."""
    events = payments(BEFORE + MOST, world.seed)
    lifecycle.start(
        world.bench.project,
        world.bench.settings,
        parallelism=parallelism,
        state_backend=backend,
        checkpoint_interval_ms=500,
        # Otherwise it publishes again what came after its last checkpoint, each time that Flink is killed.
        exactly_once="kill_at" in fill,
    )
    world.send(events[:BEFORE])
    world.bench.await_committed(BEFORE)
    is_filled = threading.Event()

    def produce() -> None:
        for event in events[BEFORE:-AFTER]:
            world.send([event])
            if is_filled.wait(1 / PACE_PER_S):
                return

    sender = threading.Thread(target=produce)
    sender.start()
    try:
        world.fill(**fill)
    finally:
        is_filled.set()
        sender.join()
    world.send(events[-AFTER:])
    return check(world)


def check(world: World, *, is_retained: bool = True) -> Counter[str]:
    """One record for each event; every value of every view is the oracle's over all events; how many had each view."""
    plan, project = world.wanted.plan, world.wanted
    rows = [row(event) for event in world.sent]
    is_new = accept_events([(r["card"], r["id"], r["time"]) for r in rows], plan.source.dedup_horizon_ms)
    accepted = [r for r, new in zip(rows, is_new, strict=True) if new]
    decoder = project.features_decoder()
    kafka = world.bench.settings.kafka.access
    deadline = time.monotonic() + 60
    while True:
        records = [decoder.decode(r.value or b"") for r in read_topic(kafka, plan.features_topic)]
        records = [record for record in records if record["trigger"] == "event"]
        if len({record["event_id"] for record in records}) >= len(accepted) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    counts = Counter(record["event_id"] for record in records)
    assert set(counts) == {r["id"] for r in accepted}, "an event has no record"
    assert max(counts.values()) == 1, counts.most_common(3)
    by_id = {record["event_id"]: record for record in records}

    filled: Counter[str] = Counter()
    for view in plan.views:
        histories: dict[str, list[Timed]] = defaultdict(list)
        mine = [(r, by_id[r["id"]]) for r in accepted]
        by_entity: dict[str, list[tuple[dict[str, Any], dict[str, Any] | None]]] = defaultdict(list)
        for r, record in mine:
            entity = entity_of(view.entity, r)
            if entity is not None:
                by_entity[entity].append((r, record[view.name]))
        for entity, pairs in by_entity.items():
            values = [got for _, got in pairs if got is not None]
            # Events before the takeover have no record of the new view; those after it count on.
            silent = [r for r, got in pairs if got is None]
            known = sorted(((r, got) for r, got in pairs if got is not None), key=lambda pair: pair[1]["seq"])
            assert [got["seq"] for _, got in known] == list(range(len(silent) + 1, len(pairs) + 1)), (view.id, entity)
            assert len({got["epoch"] for got in values}) <= 1, (view.id, "began anew")
            histories[entity] = [Timed(r["time"], r) for r in silent]
            for r, got in known:
                histories[entity].append(Timed(r["time"], r))
                expected = vector(view, histories[entity])
                assert got["entity"] == entity
                assert (got["as_of"], got["late"]) == (expected.as_of, expected.late)
                for feature in view.features:
                    allowed = tolerance(feature, histories[entity], expected.as_of)
                    wanted = expected.features[feature.name]
                    assert agrees(got[feature.name], wanted, allowed), (view.id, r["id"], feature.name, wanted)
                filled[view.name] += 1
    if not is_retained:  # the verifier judges what Kafka still has
        return filled
    judged = judged_source(project, 0, world.bench.settings)
    topic = published(read_topic(kafka, plan.features_topic), decoder)
    found = check_features(plan, judged.events, topic, arrivals=judged.arrivals())
    assert (found.mismatches, found.unverifiable) == (0, 0), found.examples
    assert found.checked > 0
    return filled


def entity_of(entity: str, r: dict[str, Any]) -> str | None:
    if entity == "pair":
        return None if r["shop"] is None else f"{r['card']}|{r['shop']}"
    found: str | None = r[entity]
    return found


@pytest.mark.timeout(900)
def test_after_the_takeover_new_views_have_the_values_of_all_events(world: World) -> None:
    """On RocksDB; the kills are survived on the heap."""
    filled = run(world, parallelism=2, backend="rocksdb")

    assert filled["by_card"] > BEFORE + AFTER, filled
    assert min(filled["paid"], filled["sold"], filled["pairs"]) >= AFTER // 2, filled
    assert load_fill(fill_folder(world.bench.settings, world.wanted.name)) is None
    found = lifecycle.status(world.wanted, world.bench.settings)
    assert found is not None
    assert found.state == "RUNNING"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", ["taskmanager", "jobmanager"])
def test_kills_of_the_command_and_of_flink_change_no_value(world: World, stack: Stack, victim: str) -> None:
    """The command is killed at the beginning of phases, and Flink in the middle of the history."""
    phases = PHASES[0::2] if victim == "taskmanager" else PHASES[1::2]

    def kill() -> None:
        while not world.is_in("replaying"):
            time.sleep(0.05)
        time.sleep(2)
        os.kill(stack.pid(victim), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    filled = run(world, more=("--max-rate", "40"), kill_at=phases)
    killer.join()

    assert min(filled["paid"], filled["sold"], filled["pairs"]) >= AFTER // 2, filled
    assert any("killed after" in said for said in world.outputs)


@pytest.mark.timeout(900)
def test_a_fill_is_given_up_and_the_running_job_goes_on(world: World) -> None:
    lifecycle.start(world.bench.project, world.bench.settings)
    world.send(payments(200, world.seed))
    world.bench.await_committed(200)
    command = world.command("--max-rate", "5")
    while not world.is_in("replaying"):
        time.sleep(0.1)
    command.send_signal(signal.SIGINT)
    assert command.wait(60) == 130

    assert discard_fill(world.wanted, world.bench.settings) is not None

    assert load_fill(fill_folder(world.bench.settings, world.wanted.name)) is None
    found = lifecycle.status(world.bench.project, world.bench.settings)
    assert found is not None
    assert found.state == "RUNNING"


@pytest.mark.timeout(900)
def test_history_that_kafka_has_deleted_comes_from_an_archive(world: World, tmp_path: Path) -> None:
    bench, kafka, topic = world.bench, world.bench.settings.kafka.access, world.bench.pipeline.source.topic
    events = payments(300 + AFTER, world.seed)
    lifecycle.start(bench.project, bench.settings, checkpoint_interval_ms=500)
    world.send(events[:300])
    bench.await_committed(300)
    archive = tmp_path / "archive"
    options = ("--out", str(archive), "--topics", "raw", "--until-caught-up")
    command = [sys.executable, "-m", "penstock", "archive", "run", bench.project.reference, *options]
    subprocess.run(command, check=True, timeout=300)
    with Lag(kafka) as lag:
        ends = lag.end_offsets(topic)
    deleted = [TopicPartition(topic, number, end // 2) for number, end in ends.items()]
    admin = AdminClient(kafka.client())
    for future in admin.delete_records(deleted).values():
        future.result(30)

    process = world.command()
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 1
    assert "retention has deleted records" in said
    world.fill(("--source", str(archive)))
    world.send(events[300:])

    filled = check(world, is_retained=False)
    assert min(filled["paid"], filled["sold"], filled["pairs"]) >= AFTER // 2, filled
