"""The whole pipeline on the whole stack: killed under load, given invalid input, and verified."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from backfill.parity.check import check_parity
from backfill.parity.kafka import kafka_sources
from backfill.parity.report import as_json
from backfill.parity.sources import Range
from deploy.local.stack import Stack
from examples.demo.command_runner import CommandRunner
from examples.demo.producer import DemoProducer
from examples.flights.replay import messages as flight_messages
from examples.fraud.delivery import messages
from examples.fraud.pipeline import pipeline as fraud
from examples.messages import Message
from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.kafka.lag import Lag
from penstock.kafka.reading import read_topic
from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from streams.definitions.windows import duration_text
from streams.inprocess.features_of import shared_kernel
from streams.plan.project import open_project
from tests.integration.catching_up import await_caught_up
from tests.integration.fraud_run import Run, environment_of, running
from tests.integration.kill_point import KillPoint

SEED = 11
TRAIN, AFTER_KILL = 12_000, 7_000
# A week: enough for each window but the longest to lose events.
FLIGHTS = 6_000
PER_SECOND = 700
# A job on a loaded machine is late with its checkpoints and its records.
KILL_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def environment(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with environment_of(stack, tmp_path_factory.mktemp("secret"), "whole_pipeline") as variables:
        yield variables


@pytest.fixture(scope="module")
def run(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running(environment, tmp_path_factory.mktemp("logs"), seed=SEED, train=TRAIN) as started:
        yield started


@pytest.mark.timeout(600)
def test_after_kills_under_load_nothing_is_lost_duplicated_or_different(run: Run, stack: Stack) -> None:
    is_killed = threading.Event()

    def produce() -> None:
        while not is_killed.is_set():
            run.produce(PER_SECOND, PER_SECOND)
        run.produce(AFTER_KILL, PER_SECOND)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        time.sleep(4)
        run.services.kill("scorer")
        run.start("scorer")
        reached = KillPoint(fraud, run.lag).is_reached_within(KILL_WITHIN_S)
        assert reached, f"the job published nothing between two checkpoints in {KILL_WITHIN_S:.0f} s"
        os.kill(stack.pid("taskmanager"), signal.SIGKILL)
    finally:
        is_killed.set()
    time.sleep(3)
    run.services.kill("scorer")
    run.services.kill("sink-redis")
    run.start("scorer")
    run.start("sink-redis")
    producer.join()
    run.await_all()

    report = run.verified_report()
    counts = run.upstream.counts
    assert report.events_valid == counts["event"]
    assert (report.events_duplicate, report.events_invalid) == (counts["duplicate"], counts["malformed"])
    assert report.features_emitted > report.events_valid, "the job repeated nothing"
    assert report.features_checked > 50_000


def test_features_explain_shows_the_events_behind_a_vector_in_redis(run: Run) -> None:
    decoder = open_project("fraud").features_decoder()
    card = [
        decoder.decode(r.value)["card_spend"]["entity"]
        for r in read_topic(Settings().kafka.access, fraud.features_topic)
    ][-1]
    shown = CliRunner().invoke(cli, ["features", "explain", "fraud", "card_spend", card, "--json"])
    assert shown.exit_code == 0, shown.output
    explained = json.loads(shown.stdout)
    values = {feature["name"]: feature["value"] for feature in explained["features"]}
    assert not [feature for feature in explained["features"] if "again" in feature]
    assert values["count_7d"] >= 1
    counted = {
        f"count_{duration_text(w['window_ms'])}".replace("1d", "24h"): sum(
            tile["values"][name] for tile in w["tiles"] for name in tile["values"] if name.startswith("count_")
        )
        for w in explained["windows"]
    }
    assert counted == {name: value for name, value in values.items() if name.startswith("count_")}
    missing = CliRunner().invoke(cli, ["features", "explain", "fraud", "card_spend", "nobody"])
    assert (missing.exit_code, "use --hash" in missing.output) == (1, True)


def test_the_examples_of_the_python_api_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "march").symlink_to(run.backfill)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "python-api.md", "exec"), names)


def test_an_event_of_ten_megabytes_and_a_very_old_one_do_not_affect_others(run: Run) -> None:
    topic = fraud.source.topic
    larger = ConfigEntry("max.message.bytes", str(16 * 2**20), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[larger])
    kafka = Settings().kafka.access
    admin = AdminClient(kafka.client())
    admin.incremental_alter_configs([resource])[resource].result(15)
    producer = Producer({**kafka.client(), "message.max.bytes": 32 * 2**20})
    padded = json.dumps({"pad": "x" * 10 * 2**20}).encode()
    producer.produce(topic, padded, b"4669352468860531", 0)
    assert producer.flush(30) == 0
    first = next(m for m in messages(SEED) if m.kind == "event" and m.value is not None and m.value[:1] == b"{")
    assert first.value is not None
    old = json.dumps(json.loads(first.value) | {"transaction_id": "far-past", "event_time": 946_684_800_000}).encode()
    run.upstream.produce([Message(first.topic, first.key, old, None, "event")], per_second=None, tick=lambda: None)
    run.produce(50)
    run.await_all()

    report = run.verified_report()
    run.require_parity(report)  # also of what was under load
    assert report.predictions == report.events_valid
    letters = [DeadLetter.read(r.key, r.value, r.headers) for r in read_topic(kafka, f"{topic}.dlq")]
    (large,) = [letter for letter in letters if letter.reason == "penstock.TooLarge"]
    assert large.value == padded


def test_what_the_flights_job_serves_can_be_recomputed(environment: dict[str, str], tmp_path: Path) -> None:
    """Columns in Python and in SQL, nulls, and four entities that share one partition: computed in two ways."""
    project, settings, upstream = open_project("flights"), Settings(), DemoProducer(Settings().kafka.access)
    with CommandRunner(environment, tmp_path) as services, Lag(settings.kafka.access) as lag:
        services.call("topics", "topics", "create", "flights")
        services.call("job-start", "job", "start", "flights")
        upstream.produce(flight_messages(FLIGHTS), per_second=None, tick=lambda: None)
        await_caught_up(lag, "penstock-flights-features", project.plan.source.topic, lambda: None)
        services.call("job-stop", "job", "stop", "flights")
    assert upstream.event_times is not None
    begin, latest = upstream.event_times
    sources = kafka_sources(project, settings, begin)
    parity = check_parity(project, sources, Range(begin, latest + 1), shared_kernel())
    assert parity.unexplained == 0, as_json(parity, [project.plan.source.topic])
    assert parity.findings.not_compared == {}
    # Other tests may have sent flights, too.
    assert parity.events >= upstream.counts["event"]


def test_a_scorer_without_a_loaded_model_stops_with_the_next_command(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with CommandRunner(environment, tmp_path) as services:
        services.call("topics", "topics", "create", "flights")
        with pytest.raises(PenstockError, match="penstock model"):
            services.call("scorer", "scorer", "run", "flights")
