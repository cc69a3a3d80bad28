"""The feature job on a real Flink cluster and Kafka: results, restarts, failures, refusals."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.kafka.reading import read_topic
from penstock.settings import Settings
from schemas.avro import contract_schema
from schemas.codec import Encoder
from schemas.contract import pii_hash
from streams.flink import lifecycle
from streams.plan.project import open_project
from tests.streams.job_bench import (
    KEY,
    PARTITIONS,
    START_MS,
    JobBench,
    check_cards,
    check_derived,
    define,
    payments,
    prepared,
)
from verify.check_events import check_dead_letters, judge_source


@pytest.fixture(autouse=True)
def personal_key(stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key of personal data in the environment."""
    monkeypatch.setenv("PENSTOCK_PII_KEY", KEY)


@pytest.fixture
def bench(personal_key: None, suffix: str, tmp_path: Path) -> Iterator[JobBench]:
    """A pipeline with topics; its job is cancelled afterwards if it still runs."""
    bench = prepared(define(tmp_path, suffix), Settings())
    yield bench
    lifecycle.cancel(bench.project, bench.settings)


def test_features_equal_the_oracles_and_invalid_events_become_dead_letters(bench: JobBench) -> None:
    events = payments(300, seed=1)
    sent = [event for number, event in enumerate(events) for _ in range(2 if number % 50 == 0 else 1)]
    payment = Encoder(contract_schema(bench.pipeline.source.contract))
    good, late_bad = sent[:-1], sent[-1]
    garbage: list[tuple[bytes, bytes | None, str]] = [
        (b"k", b"\xff\xfe", "penstock.Undecodable"),
        (b"k", b'{"id": "x"} trailing', "penstock.Undecodable"),
        (b"k", b"\xc3\x01" + bytes(12), "penstock.UnknownSchema"),
        (b"k", b"\x00\x00\x00\x00\x07abc", "penstock.Undecodable"),
        (b"k", None, "penstock.Tombstone"),
        (b"k", b'{"id": "x", "time": 1, "card": "c"}', "penstock.InvalidField"),
        (b"k", b'{"id": "x", "time": 1, "card": "c", "amount": NaN}', "penstock.Undecodable"),
        (b"k", b'{"id": "x", "time": 1, "card": null, "amount": 1}', "penstock.InvalidField"),
        (b"k", b'{"id": "x", "time": 1, "card": "c", "amount": 0}', "penstock.InvalidField"),
        (b"k", b'{"id": "x", "time": 9000000000000000, "card": "c", "amount": 1}', "penstock.FutureEvent"),
        (b"k", b'{"pad": "' + b"x" * 900_000 + b'"}', "penstock.TooLarge"),
    ]

    bench.send(good[:100])
    bench.send_raw((key, value) for key, value, _ in garbage)
    bench.send(good[100:])
    bench.send_raw([(late_bad["card"].encode(), payment.encode(late_bad))])
    began_ms = time.time_ns() // 1_000_000
    lifecycle.start(bench.project, bench.settings)

    records = bench.features(len(events))
    assert len(records) == len(events), "an event that came twice was not dropped"
    check_cards(bench, sent, records)
    filled = check_derived(bench, records)
    assert set(filled) == {f"{view.name}.{feature.name}" for view, feature in bench.plan.derived_features}
    assert min(filled.values()) > 0, filled
    cards = {event["id"]: event["card"] for event in events}
    for record in records:
        assert (
            record["partition"] == record["source"]["partition"] == sum(cards[record["event_id"]].encode()) % PARTITIONS
        )
        assert record["key"] == pii_hash(KEY.encode(), cards[record["event_id"]]).encode(), "a card number leaks"
        assert record["trigger"] == "event"
        assert began_ms <= record["attempt"] <= time.time() * 1000, "not when the job began to run"
        assert (record["by_shop"] is None) == (record["event"]["shop"] is None)
        past_five = record["event"]["amount"] - 5
        assert record["event"]["or_one"] == pytest.approx(math.log(past_five) if past_five > 0 else 1.0)

    letters = bench.dead_letters(len(garbage))
    assert Counter(letter.reason for letter in letters) == Counter(reason for *_, reason in garbage)
    assert {letter.value for letter in letters} == {value for _, value, _ in garbage}, "not verbatim"
    assert all(letter.key == b"k" and letter.original_headers == (("trace", b"1"),) for letter in letters)


def test_of_two_pipelines_on_one_topic_each_is_judged_by_its_own_dead_letters(
    bench: JobBench, suffix: str, tmp_path: Path
) -> None:
    """The other pipeline takes payments above 40 only, so it also refuses what the first one takes."""
    name, topic = bench.pipeline.name, bench.pipeline.source.topic
    text = (tmp_path / f"{name}.py").read_text(encoding="utf-8").replace(name, f"other_{suffix}")
    file = tmp_path / "other.py"
    file.write_text(text.replace(f"events.other_{suffix}", topic).replace("gt=0", "gt=40"), encoding="utf-8")
    other = prepared(open_project(str(file)), bench.settings)
    events = payments(50, seed=8)
    bench.send(events)
    bench.send_raw([(b"k", b"no JSON"), (b"k", None)])
    small = sum(event["amount"] <= 40 for event in events)
    assert small > 0
    try:
        for each in (bench, other):
            lifecycle.start(each.project, each.settings)
        bench.dead_letters(2 + 2 + small)
    finally:
        lifecycle.cancel(other.project, other.settings)

    kafka = bench.settings.kafka.access
    letters = list(read_topic(kafka, bench.pipeline.source.dead_letter_topic))
    for each, refused in ((bench, 2), (other, 2 + small)):
        judged = judge_source(each.project, 0, read_topic(kafka, topic), KEY.encode())
        assert check_dead_letters(judged, each.pipeline.name, topic, letters) == (refused, 0, [])


def test_a_job_continues_from_its_savepoint_at_another_parallelism(bench: JobBench) -> None:
    events = payments(300, seed=2)
    lifecycle.start(bench.project, bench.settings)
    bench.send(events[:150])
    first = bench.features(150)
    path = lifecycle.stop(bench.project, bench.settings)
    bench.send(events[150:])

    lifecycle.start(bench.project, bench.settings, savepoint=lifecycle.LATEST, parallelism=2)
    records = bench.features(300)

    assert Path(path.removeprefix("file:")).exists()
    check_cards(bench, events, records)
    assert len({record["by_card"]["epoch"] for record in records}) == 1
    emitted_before = {record["event_id"] for record in first}
    (attempt,) = {record["attempt"] for record in first}
    (later,) = {record["attempt"] for record in records if record["event_id"] not in emitted_before}
    assert later > attempt, "two tasks disagree, or the attempt did not grow"


def test_a_job_that_starts_without_state_has_a_greater_epoch(bench: JobBench) -> None:
    lifecycle.start(bench.project, bench.settings)
    bench.send(payments(50, seed=3))
    before = bench.features(50)
    bench.await_committed(50)
    lifecycle.stop(bench.project, bench.settings)

    with pytest.raises(PenstockError, match="although there is state to continue from") as refused:
        lifecycle.start(bench.project, bench.settings)
    assert "--from-savepoint latest; to discard that state" in str(refused.value)
    lifecycle.start(bench.project, bench.settings, empty=True)
    bench.send(payments(50, seed=4, start_ms=START_MS + 10**9))
    after = bench.features(100)

    assert len(after) == 100, "the consumer group's offsets were not kept"
    newest = {record["event_id"] for record in before}
    old = {record["by_card"]["epoch"] for record in after if record["event_id"] in newest}
    new = [record["by_card"] for record in after if record["event_id"] not in newest]
    assert min(view["epoch"] for view in new) > max(old)
    assert min(view["seq"] for view in new) == 1


def test_a_cancelled_job_is_continued_from_its_checkpoint_or_not_at_all(bench: JobBench) -> None:
    lifecycle.start(bench.project, bench.settings, checkpoint_interval_ms=200)
    events = payments(50, seed=3)
    bench.send(events)
    bench.await_committed(50)
    lifecycle.cancel(bench.project, bench.settings)

    with pytest.raises(PenstockError, match="although there is state to continue from") as refused:
        lifecycle.start(bench.project, bench.settings)
    assert refused.value.next is not None
    checkpoint = refused.value.next.partition("--from-savepoint ")[2].partition(";")[0]
    lifecycle.start(bench.project, bench.settings, savepoint=checkpoint)
    more = payments(50, seed=4, start_ms=START_MS + 100_000)
    bench.send(more)
    records = bench.features(100)
    assert len({record["by_card"]["epoch"] for record in records}) == 1
    check_cards(bench, [*events, *more], records)


def test_a_killed_task_manager_loses_nothing_and_re_emits_equal_records(bench: JobBench, stack: Stack) -> None:
    events = payments(3_000, seed=5)
    lifecycle.start(bench.project, bench.settings, checkpoint_interval_ms=500)
    for start in range(0, 3_000, 250):
        bench.send(events[start : start + 250])
        time.sleep(0.25)
        if start == 1_500:
            os.kill(stack.pid("taskmanager"), signal.SIGKILL)

    records = bench.features(3_000, timeout_s=120)

    check_cards(bench, events, records)
    assert {record["event_id"] for record in records} == {event["id"] for event in events}
    assert len({record["by_card"]["epoch"] for record in records}) == 1
    assert len({record["attempt"] for record in records}) > 1
    repeated: dict[tuple[str, int], dict[str, object]] = {}
    for record in records:
        # What is derived from a shop's features is not of the card alone: a shop's events come from several partitions.
        view = {name: value for name, value in record["by_card"].items() if name != "against_shop"}
        assert repeated.setdefault((view["entity"], view["seq"]), view) == view


def test_in_exactly_once_mode_each_record_is_visible_once_although_the_task_manager_is_killed(
    bench: JobBench, stack: Stack
) -> None:
    events = payments(1_500, seed=6)
    lifecycle.start(bench.project, bench.settings, exactly_once=True, checkpoint_interval_ms=500)
    for start in range(0, 1_500, 250):
        bench.send(events[start : start + 250])
        time.sleep(0.3)
        if start == 750:
            os.kill(stack.pid("taskmanager"), signal.SIGKILL)

    records = bench.features(1_500, timeout_s=150)

    assert Counter(record["event_id"] for record in records) == Counter(event["id"] for event in events)
    check_cards(bench, events, records)


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_python_column_runs_in_the_requested_mode(
    stack_environment: dict[str, str], suffix: str, tmp_path: Path, mode: str
) -> None:
    bench = prepared(define(tmp_path, suffix, python=True), Settings())
    events = payments(60, seed=7)
    try:
        lifecycle.start(bench.project, bench.settings, python_mode=mode)
        bench.send(events[:30])
        bench.features(30)
        lifecycle.stop(bench.project, bench.settings)
        # Once more in the same JVM, where state of the first Python interpreter must not interfere.
        lifecycle.start(bench.project, bench.settings, python_mode=mode, savepoint=lifecycle.LATEST)
        bench.send(events[30:])
        records = bench.features(60)
    finally:
        lifecycle.cancel(bench.project, bench.settings)

    check_cards(bench, events, records)
    for record in records:
        shop = record["event"]["shop"]
        assert record["event"]["initial"] == (shop[:1] if shop else None)


def test_the_error_of_a_start_names_what_is_missing(
    stack_environment: dict[str, str], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = define(tmp_path, suffix)
    settings = Settings()

    with pytest.raises(PenstockError, match="do not exist") as missing:
        lifecycle.start(project, settings)
    assert missing.value.next == f"penstock topics create {project.reference}"

    bench = prepared(project, settings)
    with pytest.raises(PenstockError, match="kernel is not built"):
        lifecycle.start(project, settings.model_copy(update={"jars": tmp_path}))
    nowhere = settings.flink.model_copy(update={"rest": "http://127.0.0.1:1"})
    with pytest.raises(PenstockError, match="Flink cannot be reached"):
        lifecycle.start(project, settings.model_copy(update={"flink": nowhere}))
    with pytest.raises(PenstockError, match="no latest savepoint"):
        lifecycle.start(project, settings, savepoint=lifecycle.LATEST)
    with pytest.raises(PenstockError, match=r"job .* is not running"):
        lifecycle.stop(project, settings)
    with pytest.raises(PenstockError, match=r"the submission failed|did not start"):
        lifecycle.start(project, settings, savepoint=f"file://{tmp_path}/nowhere")
    lifecycle.cancel(bench.project, bench.settings)

    monkeypatch.delenv("PENSTOCK_PII_KEY")
    with pytest.raises(PenstockError, match="no key to hash it with"):
        lifecycle.start(project, Settings())


def test_a_pipeline_has_one_job_at_a_time_and_flink_does_not_show_its_key_of_personal_data(bench: JobBench) -> None:
    started = lifecycle.start(bench.project, bench.settings)

    with pytest.raises(PenstockError, match="already RUNNING"):
        lifecycle.start(bench.project, bench.settings)

    found = lifecycle.status(bench.project, bench.settings)
    assert found is not None
    assert (found.id, found.state, found.restarts) == (started.id, "RUNNING", 0)
    for path in (f"/jobs/{started.id}", f"/jobs/{started.id}/config", f"/jobs/{started.id}/plan", "/jobmanager/config"):
        assert KEY not in httpx.get(bench.settings.flink.rest + path, trust_env=False).raise_for_status().text
