"""The scorer as a process on real Kafka and Triton: every event gets exactly one prediction, whatever is killed."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.kafka.names import dead_letters_of
from penstock.kafka.records import MAX_RECORD_BYTES
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from tests.scoring.crashing_scorer import POINTS
from tests.scoring.scorer_bench import (
    ScorerBench,
    ScorerProcess,
    add_model,
    amount_of,
    define,
    expected_score,
    feeding,
    load_model,
    unload_model,
    wait_for,
)

PARTITIONS = 3
# Small batches without lingering: many transactions, whose beginnings and ends fall anywhere.
EAGER = ("--max-batch", "64", "--linger-ms", "0")


@pytest.fixture
def untrained(settings: Settings, suffix: str, tmp_path: Path) -> ScorerBench:
    """A pipeline with topics and without a model."""
    reference, pipeline = define(tmp_path, suffix, PARTITIONS)
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    return bench


@pytest.fixture
def bench(untrained: ScorerBench) -> Iterator[ScorerBench]:
    """A pipeline whose model is loaded."""
    add_model(untrained.pipeline, untrained.settings)
    load_model(untrained.pipeline, untrained.settings)
    yield untrained
    # Unload only so that Triton does not accumulate models. If it fails, the test has failed already.
    with contextlib.suppress(Exception):
        unload_model(untrained.pipeline, untrained.settings)


def assert_exactly_once(bench: ScorerBench) -> None:
    bench.wait_until_drained()
    answered = Counter(bench.scored_events())
    assert [event for event, times in answered.items() if times > 1] == []
    missing = sorted({*bench.sent} - {*answered})
    assert not missing, bench.account_of(missing)
    assert {*answered} <= {*bench.sent}


def test_every_event_gets_the_models_score_in_its_partition_under_its_key(bench):
    with bench.scoring():
        bench.feed(300)
        assert_exactly_once(bench)
    for prediction in bench.predictions():
        offset = prediction["source"]["offset"]
        total = None if offset % 5 == 0 else float(offset % 23)
        assert prediction["score"] == pytest.approx(expected_score(amount_of(offset), total, offset % 17), abs=1e-6)
        assert prediction["decision"] == ("block" if prediction["score"] >= 0.5 else "pass")
        assert (prediction["route"], prediction["model_version"]) == ("primary", "1")
    for message in bench.messages(bench.pipeline.predictions_topic):
        assert message.key() == b"card-%d" % message.partition()


def test_killed_at_any_moment_there_is_no_gap_and_no_duplicate(bench):
    rng = random.Random(1)
    with feeding(bench):
        for _ in range(5):
            process = bench.start("0", *EAGER)
            process.wait_for_log("assigned")
            time.sleep(rng.uniform(0.0, 1.0))
            process.kill()
    with bench.scoring("0", *EAGER):
        assert_exactly_once(bench)
    assert len(bench.sent) > 1_000


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_given_point_of_a_transaction_there_is_no_gap_and_no_duplicate(bench, point):
    bench.feed(3_000)
    bench.flush()
    for _ in range(2):
        doomed = bench.start("0", *EAGER, module=("tests.scoring.crashing_scorer", point, "2"))
        assert doomed.process.wait(60) == -signal.SIGKILL, doomed.log()
    with bench.scoring("0", *EAGER):
        assert_exactly_once(bench)
    # Records of the killed scorers that were not committed are on the broker, but invisible to readers.
    assert (bench.written() > len(bench.sent)) == (not point.endswith("after_commit"))


def assigned(scorer: ScorerProcess) -> int:
    """The number of partitions that a scorer has by its log."""
    partitions: set[str] = set()
    for line in scorer.log().splitlines():
        if " assigned " in line:
            partitions |= set(re.findall(r"features\.\S+?\[\d+\]", line))
        elif " revoked " in line or " lost " in line:
            partitions -= set(re.findall(r"features\.\S+?\[\d+\]", line))
    return len(partitions)


def test_while_scorers_join_and_leave_each_event_is_predicted_once(bench):
    with feeding(bench):
        first = bench.start("a", *EAGER)
        first.wait_for_log("assigned")
        second = bench.start("b", *EAGER)
        second.wait_for_log("assigned features")
        time.sleep(1)
        first.kill()
        with bench.scoring("c", *EAGER) as third:
            # When the session of the killed scorer has expired, the two have its partitions too.
            wait_for(lambda: assigned(second) + assigned(third) == PARTITIONS, 60, "the killed scorer's partitions")
            second.stop()
            wait_for(lambda: assigned(third) == PARTITIONS, 60, "the stopped scorer's partitions")
    with bench.scoring("a", *EAGER):
        assert_exactly_once(bench)


def test_a_scorer_that_was_frozen_beyond_its_session_timeout_commits_nothing_afterwards(bench):
    with feeding(bench):
        frozen = bench.start("a", *EAGER)
        frozen.wait_for_log("assigned")
        time.sleep(0.5)
        frozen.process.send_signal(signal.SIGSTOP)
        with bench.scoring("b", *EAGER) as other:
            wait_for(lambda: other.log().count("features.") > 1 and "[2]" in other.log(), 30, "the partitions to move")
            time.sleep(2)
            frozen.process.send_signal(signal.SIGCONT)
            time.sleep(3)
            assert "lost features" in frozen.log()
            frozen.kill()
    with bench.scoring("b", *EAGER):
        assert_exactly_once(bench)


def test_a_second_process_of_the_same_instance_ends_the_first(bench):
    with feeding(bench):
        first = bench.start("0", *EAGER)
        first.wait_for_log("assigned")
        with bench.scoring("0", *EAGER) as second:
            second.wait_for_log("assigned")
            assert "give each process of this service its own --instance" in first.wait_for_error()
    with bench.scoring("0"):
        assert_exactly_once(bench)


def test_features_emitted_again_are_not_scored_again_even_after_a_restart(bench):
    bench.feed(300)
    with bench.scoring():
        again(bench, bench.sent[:100], attempt=1)
        bench.wait_until_drained()
        again(bench, bench.sent[50:], attempt=2)
        assert_exactly_once(bench)
    with bench.scoring():
        again(bench, bench.sent, attempt=3)
        bench.feed(30)
        assert_exactly_once(bench)
    assert {prediction["attempt"] for prediction in bench.predictions()} == {0}


def test_a_record_dated_years_ago_is_scored_once_and_each_commit_says_up_to_where_events_are_scored(bench):
    long_ago = {"topic": bench.pipeline.source.topic, "partition": 0, "offset": 1_000, "timestamp": 1_000_000_000}
    bench.feed(300)
    bench.sent.append((0, 1_000))
    for attempt in range(3):
        with bench.scoring():
            bench.emit(0, 1_000, source=long_ago, attempt=attempt)
            again(bench, bench.sent[-30:-1], attempt)
            bench.wait_until_drained()
    assert_exactly_once(bench)
    assert [bench.look_back(partition).highest for partition in range(PARTITIONS)] == [1_000, 99, 99]


def again(bench: ScorerBench, events: list[tuple[int, int]], attempt: int) -> None:
    """Emit the same events once more, as a restarted job does."""
    for partition, offset in events:
        bench.emit(partition, offset, attempt=attempt)


def test_an_event_that_the_model_cannot_score_becomes_exactly_one_dead_letter(bench):
    bench.feed(30)
    for _ in range(2):
        with bench.scoring():
            bench.emit(1, 10_000, event={"amount": -1.0})
            bench.wait_until_drained()
    (letter,) = bench.dead_letters()
    read = DeadLetter.read(letter.key(), letter.value(), letter.headers())
    assert (read.stage, read.reason, read.topic) == ("score", "penstock.NotANumber", bench.pipeline.features_topic)
    assert_exactly_once(bench)


def test_undecodable_records_become_dead_letters_and_the_others_are_scored(bench):
    good = bench.encode(bench.record(0, 500))
    poison = [b"", b"junk", good[:-3], good + b"x", b"\xc3\x01" + b"\0" * 8 + good[10:], None]
    with bench.scoring():
        for value in poison:
            bench.feed(30)
            bench.emit_bytes(2, value, key=b"poison", headers=[("app", b"1")])
        bench.emit(0, 900, trigger="timer")
        assert_exactly_once(bench)
    letters = [DeadLetter.read(m.key(), m.value(), m.headers()) for m in bench.dead_letters()]
    assert [letter.value for letter in letters] == poison
    assert {letter.key for letter in letters} == {b"poison"}
    assert {letter.original_headers for letter in letters} == {(("app", b"1"),)}
    assert [letter.reason for letter in letters] == [
        *["penstock.Undecodable"] * 4,
        "penstock.UnknownSchema",
        "penstock.Tombstone",
    ]


def test_a_record_that_no_dead_letter_can_hold_is_one_with_an_excerpt_and_the_others_are_scored(bench):
    takes = 20_000_000
    bench.configure(dead_letters_of(bench.pipeline.predictions_topic), "max.message.bytes", str(takes))
    values = [b"w" * 50_000, b"\0" * (MAX_RECORD_BYTES + 1), b"\0" * takes]
    with bench.scoring():
        for value in values:
            bench.feed(30)
            bench.emit_compressed(1, value)
        bench.feed(30)
        assert_exactly_once(bench)
    letters = [DeadLetter.read(m.key(), m.value(), m.headers()) for m in bench.dead_letters()]
    assert [(letter.value, letter.value_bytes) for letter in letters] == [
        (values[0], None),
        *((value[: 16 * 1024], len(value)) for value in values[1:]),
    ]


def test_while_triton_is_down_the_fallback_scores_and_afterwards_triton_again(bench, stack):
    with bench.scoring() as process:
        bench.feed(60)
        bench.wait_until_drained()
        stack.stop("triton")
        try:
            bench.feed(60)
            bench.wait_until_drained()
        finally:
            stack.start("triton")
        load_model(bench.pipeline, bench.settings)
        time.sleep(1.5)  # the cool-down
        bench.feed(60)
        assert_exactly_once(bench)
        process.wait_for_log("Triton answers again")
    routes = [p["route"] for p in sorted(bench.predictions(), key=lambda p: p["source"]["offset"])]
    assert routes == ["primary"] * 60 + ["fallback"] * 60 + ["primary"] * 60


def test_while_kafka_restarts_the_scorer_waits_and_then_continues(bench, stack):
    with bench.scoring() as process:
        bench.feed(60)
        bench.wait_until_drained()
        stack.restart("kafka")
        bench.feed(60)
        assert_exactly_once(bench)
        assert process.process.poll() is None


def test_a_scorer_that_is_told_to_stop_while_kafka_does_not_answer_ends_before_a_container_would_be_killed(
    bench, stack
):
    with feeding(bench):
        process = bench.start("0", *EAGER)
        process.wait_for_log("assigned features")
        time.sleep(2)
        frozen = stack.pid("kafka")
        os.kill(frozen, signal.SIGSTOP)
        try:
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(30) == 0, process.log()
        finally:
            process.kill()
            os.kill(frozen, signal.SIGCONT)
    with bench.scoring("0"):
        assert_exactly_once(bench)


def test_a_model_with_the_inputs_in_another_order_is_refused(untrained):
    first, *others = untrained.pipeline.model.inputs
    add_model(untrained.pipeline, untrained.settings, inputs=(*others, first))
    load_model(untrained.pipeline, untrained.settings)
    text = untrained.start().wait_for_error()
    assert "number 0 is 'event.amount' there and 'activity.amount_sum_1h' in the model" in text
    assert "penstock model train" in text
    unload_model(untrained.pipeline, untrained.settings)


def test_a_model_that_is_not_loaded_is_refused(untrained):
    text = untrained.start().wait_for_error()
    assert f"model {untrained.pipeline.model.name} is not loaded" in text
    assert "penstock model load" in text


def test_a_model_that_was_unloaded_is_refused(bench):
    unload_model(bench.pipeline, bench.settings)
    text = bench.start().wait_for_error()
    assert "is not loaded" in text
    assert re.search(r"version 1 (UNLOADING|UNAVAILABLE)", text)


def test_while_triton_does_not_answer_a_scorer_starts_with_the_fallback(bench, monkeypatch):
    monkeypatch.setenv("PENSTOCK_TRITON_GRPC", "127.0.0.1:1")
    with bench.scoring():
        bench.feed(20)
        assert_exactly_once(bench)
    assert {p["route"] for p in bench.predictions()} == {"fallback"}


def test_without_triton_and_without_a_trained_model_the_scorer_refuses_to_start(untrained, monkeypatch):
    monkeypatch.setenv("PENSTOCK_TRITON_GRPC", "127.0.0.1:1")
    text = untrained.start().wait_for_error()
    assert "Triton does not answer" in text
    assert "penstock up" in text


@pytest.mark.parametrize(
    ("setting", "value"), [("message.timestamp.type", "LogAppendTime"), ("cleanup.policy", "compact")]
)
def test_a_predictions_topic_from_which_memory_cannot_be_rebuilt_is_refused(bench, setting, value):
    bench.configure(bench.pipeline.predictions_topic, setting, value)
    assert f"{setting}={value}" in bench.start().wait_for_error()


def test_predictions_that_are_kept_for_less_time_than_raw_events_are_told_of_at_the_start(bench):
    bench.configure(bench.pipeline.predictions_topic, "retention.ms", "86400000")
    with bench.scoring() as process:
        process.wait_for_log("assigned")
        assert "is kept for 1 days, raw topic" in process.log()
        assert f"--entity-name {bench.pipeline.predictions_topic} --add-config retention.ms=-1" in process.log()


def test_topics_that_do_not_exist_are_refused(settings, suffix, tmp_path):
    reference, pipeline = define(tmp_path, suffix, PARTITIONS)
    text = ScorerBench(reference, pipeline, settings, tmp_path).start().wait_for_error()
    assert "do not exist" in text
    assert "penstock topics create" in text
