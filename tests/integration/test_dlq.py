"""``penstock dlq`` on real servers: each letter is replayed once, whatever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record, read_topic
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from schemas.dead_letters import REPLAY_COUNT, REPLAY_OF, DeadLetter
from tests.scoring.scorer_bench import (
    NEVER_SCORED,
    ScorerBench,
    add_model,
    define,
    load_model,
    penstock,
    unload_model,
    wait_for,
)

PARTITIONS = 3
# Where replays of the same letters are killed, one after the other: a point, and in which of its transactions. There is
# a transaction for each of the three partitions; the last is left to the replay that nobody kills.
KILLS = (
    ("before_offsets", "1"),
    ("before_commit", "1"),
    ("after_commit", "1"),
    ("before_offsets", "2"),
    ("before_commit", "1"),
)
LETTERS = 12


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ScorerBench]:
    """A pipeline whose model is loaded; it gives no number for a negative amount."""
    reference, pipeline = define(tmp_path, suffix, PARTITIONS)
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    add_model(pipeline, settings)
    load_model(pipeline, settings)
    yield bench
    with contextlib.suppress(Exception):  # if it fails, the test has failed already
        unload_model(pipeline, settings)


def dlq(bench: ScorerBench, command: str, *options: str, crash: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """``penstock dlq`` as a process, which may kill itself at a point of its n-th transaction."""
    return penstock("dlq", command, bench.reference, *options, crash=crash)


def replayed(bench: ScorerBench, *options: str) -> str:
    done = dlq(bench, "replay", *options)
    assert done.returncode == (99 if "nothing to replay" in done.stdout else 0), done.stderr
    return done.stdout


def refuse(bench: ScorerBench) -> list[tuple[int, int]]:
    """Events that get letters: the model has no number for them. Others are scored."""
    refused = []
    with bench.scoring():
        bench.feed(30)
        for number in range(LETTERS):
            partition, offset = number % PARTITIONS, 10_000 + number
            bench.emit(partition, offset, event={"amount": NEVER_SCORED})
            refused.append((partition, offset))
        bench.wait_until_drained()
    assert len(bench.dead_letters()) == LETTERS
    return refused


def improve_model(bench: ScorerBench) -> None:
    add_model(bench.pipeline, bench.settings, scores_all=True)
    load_model(bench.pipeline, bench.settings)


def records(bench: ScorerBench, topic: str) -> list[Record]:
    return list(read_topic(bench.settings.kafka.access, topic))


def put_letters(bench: ScorerBench, letters: Sequence[DeadLetter], topic: str | None = None) -> None:
    producer = Producer(bench.settings.kafka.access.client())
    for letter in letters:
        record = letter.record(topic or dead_letters_of(letter.topic), 1_700_000_000_000, 1 << 20)
        producer.produce(record.topic, record.value, key=record.key, partition=record.partition, headers=record.headers)
    assert producer.flush(30) == 0


def replays(letter: DeadLetter) -> int:
    return 0 if letter.replay is None else letter.replay[1]


def refused_event(bench: ScorerBench, offset: int) -> DeadLetter:
    return DeadLetter(
        topic=bench.pipeline.source.topic,
        partition=offset % PARTITIONS,
        offset=offset,
        pipeline=bench.pipeline.name,
        stage="validate",
        component="penstock.job",
        reason="penstock.InvalidField",
        message="amount: is missing",
        key=b"card",
        value=b'{"n": %d}' % offset,
        original_headers=(("app", b"1"),),
    )


def kill_replays(bench: ScorerBench) -> None:
    for kill in KILLS:
        crashed = dlq(bench, "replay", crash=kill)
        assert crashed.returncode == -signal.SIGKILL, (kill, crashed.stderr)


def test_killed_between_two_steps_each_refused_event_is_predicted_once(bench: ScorerBench) -> None:
    refused = refuse(bench)
    improve_model(bench)
    kill_replays(bench)
    replayed(bench)
    assert replayed(bench) == "nothing to replay\n"
    answered = Counter(bench.scored_events())
    assert {event: answered[event] for event in refused} == dict.fromkeys(refused, 1)
    assert sorted(answered) == sorted([*bench.sent, *refused])
    assert set(answered.values()) == {1}


def test_a_prediction_of_a_letter_names_it_and_the_version_that_made_it(bench: ScorerBench) -> None:
    refused = refuse(bench)
    improve_model(bench)
    topic = bench.pipeline.predictions_topic
    assert replayed(bench) == f"{topic}.dlq, scorer NotANumber: {LETTERS} predicted\n"
    letters = {
        f"{topic}.dlq[{record.partition}]@{record.offset}": DeadLetter.read(record.key, record.value, record.headers)
        for record in records(bench, f"{topic}.dlq")
    }
    headers = [dict(record.headers) for record in records(bench, topic)]
    named = [each[REPLAY_OF].decode() for each in headers if REPLAY_OF in each]
    assert sorted(named) == sorted(letters)
    predictions = [
        one for one in bench.predictions() if (one["source"]["partition"], one["source"]["offset"]) in refused
    ]
    assert {one["model_version"] for one in predictions} == {"2"}
    places = {(letter.partition, letter.offset) for letter in letters.values()}
    assert {(one["features_partition"], one["features_offset"]) for one in predictions} == places


def test_a_scorer_that_runs_meanwhile_and_a_job_that_emits_again_cause_no_second_prediction(bench: ScorerBench) -> None:
    refused = refuse(bench)
    improve_model(bench)
    with bench.scoring():
        replayed(bench)
        for partition, offset in refused:
            bench.emit(partition, offset, event={"amount": NEVER_SCORED}, attempt=1)
        bench.wait_until_drained()
    with bench.scoring():  # one that remembers nothing
        for partition, offset in refused:
            bench.emit(partition, offset, event={"amount": NEVER_SCORED}, attempt=2)
        bench.wait_until_drained()
    assert set(Counter(bench.scored_events()).values()) == {1}
    assert len(bench.dead_letters()) == LETTERS


def test_a_record_that_is_refused_again_is_quarantined_after_three_replays(bench: ScorerBench) -> None:
    refuse(bench)
    for replay in (1, 2, 3):
        assert f"{LETTERS} refused again" in replayed(bench)
        letters = [DeadLetter.read(m.key(), m.value(), m.headers()) for m in bench.dead_letters()]
        assert Counter(replays(letter) for letter in letters) == dict.fromkeys(range(replay + 1), LETTERS)
    assert replayed(bench) == "nothing to replay\n"
    (lane,) = json.loads(dlq(bench, "list", "--json").stdout)
    assert (lane["letters"], lane["waiting"], lane["quarantined"]) == (4 * LETTERS, 0, LETTERS)


def test_letters_that_are_no_answers_are_replayed_only_while_no_scorer_runs(bench: ScorerBench) -> None:
    good = bench.encode(bench.record(0, 500))
    with bench.scoring() as scorer:
        bench.feed(3)
        bench.emit_bytes(0, good[:-3])
        bench.wait_until_drained()
        scorer.wait_for_log("assigned")
        refused = dlq(bench, "replay")
        assert refused.returncode == 1
        assert "cannot be replayed while 1 scorer of the pipeline runs" in refused.stderr
    wait_for(lambda: dlq(bench, "replay").returncode == 0, 30, "the scorer's session to end")
    assert [replays(DeadLetter.read(m.key(), m.value(), m.headers())) for m in bench.dead_letters()] == [0, 1]


def test_killed_between_two_steps_each_raw_event_goes_back_once(bench: ScorerBench) -> None:
    letters = [refused_event(bench, offset) for offset in range(LETTERS)]
    put_letters(bench, letters)
    kill_replays(bench)
    replayed(bench)
    assert replayed(bench) == "nothing to replay\n"
    raw = records(bench, bench.pipeline.source.topic)
    assert sorted((r.partition, r.key, r.value) for r in raw) == sorted((x.partition, x.key, x.value) for x in letters)
    assert {r.headers[0] for r in raw} == {("app", b"1")}
    assert {dict(r.headers)[REPLAY_COUNT] for r in raw} == {b"1"}


def test_one_reason_is_replayed_and_the_others_wait(bench: ScorerBench) -> None:
    letters = [refused_event(bench, offset) for offset in range(4)]
    late = [replace(letter, reason="penstock.FutureEvent") for letter in letters[2:]]
    put_letters(bench, [*letters[:2], *late])
    assert "2 put back" in replayed(bench, "--reason", "FutureEvent")
    waiting = {lane["reason"]: lane["waiting"] for lane in json.loads(dlq(bench, "list", "--json").stdout)}
    assert waiting == {"penstock.FutureEvent": 0, "penstock.InvalidField": 2}
    assert "--reason Nothing chooses no dead letter" in dlq(bench, "replay", "--reason", "Nothing").stderr


def test_of_an_event_whose_letter_has_an_excerpt_the_raw_topic_gives_the_whole(bench: ScorerBench) -> None:
    raw = bench.pipeline.source.topic
    producer = Producer(bench.settings.kafka.access.client())
    producer.produce(raw, b"x" * 50_000, key=b"card", partition=1, headers=[("app", b"1")])
    assert producer.flush(30) == 0
    letter = refused_event(bench, 1)
    whole = replace(letter, offset=0, value=b"x" * 50_000)
    gone = replace(whole, offset=7)
    put_letters(bench, [whole.excerpt(), gone.excerpt()])
    assert "1 put back to the raw topic, 1 only an excerpt is left" in replayed(bench)
    first, second = records(bench, raw)
    assert (second.key, second.value, second.headers[0]) == (first.key, first.value, ("app", b"1"))


def test_an_event_that_is_too_long_for_its_topic_by_now_stays_a_letter_and_the_others_are_put_back(
    bench: ScorerBench,
) -> None:
    raw = bench.pipeline.source.topic
    letters = [replace(refused_event(bench, number), partition=0) for number in range(6)]
    put_letters(bench, [*letters[:3], replace(letters[3], value=os.urandom(20_000)), *letters[4:]])
    bench.configure(raw, "max.message.bytes", "10000")
    again = "1 refused by Kafka: kept as a letter"
    assert f"5 put back to the raw topic, {again}" in replayed(bench)
    bench.configure(raw, "max.message.bytes", "100000")
    assert "1 put back" in replayed(bench)
    assert len(records(bench, raw)) == len(letters)
    (last,) = [DeadLetter.read(r.key, r.value, r.headers) for r in records(bench, f"{raw}.dlq")][len(letters) :]
    assert "not put back: Kafka refuses" in last.message


def test_after_three_refusals_by_kafka_a_letter_is_quarantined(bench: ScorerBench) -> None:
    raw = bench.pipeline.source.topic
    put_letters(bench, [replace(refused_event(bench, 0), value=os.urandom(20_000))])
    bench.configure(raw, "max.message.bytes", "10000")
    for _ in range(3):
        assert "1 refused by Kafka" in replayed(bench)
    assert replayed(bench) == "nothing to replay\n"
    assert records(bench, raw) == []


def test_what_a_sink_refused_is_written_to_its_store(bench: ScorerBench) -> None:
    record = bench.record(1, 77)
    good = DeadLetter(
        topic=bench.pipeline.features_topic,
        partition=1,
        offset=0,
        pipeline=bench.pipeline.name,
        stage="decode",
        component="penstock.sink.redis",
        reason="penstock.UnknownSchema",
        message="no such schema",
        key=b"card-1",
        value=bench.encode(record),
    )
    bad = replace(good, offset=1, value=b"junk")
    put_letters(bench, [good, bad])
    assert "1 written to the store, 1 refused again" in replayed(bench)
    client = connect_redis(bench.settings.redis)
    keys = client.keys(f"penstock:{bench.pipeline.name}:activity@*")
    assert [key.decode().partition("{")[2] for key in keys] == ["card-1}"]
    again = [DeadLetter.read(r.key, r.value, r.headers) for r in records(bench, f"{bench.pipeline.features_topic}.dlq")]
    assert [(letter.reason, replays(letter)) for letter in again[2:]] == [("penstock.Undecodable", 1)]


def test_an_event_whose_features_were_too_long_is_scored_from_its_excerpt(bench: ScorerBench) -> None:
    record = bench.record(2, 55)
    letter = DeadLetter(
        topic=bench.pipeline.source.topic,
        partition=2,
        offset=55,
        pipeline=bench.pipeline.name,
        stage="encode",
        component="penstock.job",
        reason="penstock.FeaturesTooLarge",
        message="too long",
        key=b"card-2",
        value=bench.encode(record),
    )
    topic = dead_letters_of(bench.pipeline.features_topic)
    put_letters(bench, [letter], topic)
    assert "1 predicted" in replayed(bench)
    (prediction,) = bench.predictions()
    assert (prediction["features_topic"], prediction["features_partition"], prediction["features_offset"]) == (
        topic,
        2,
        0,
    )
    assert prediction["source"]["offset"] == 55


def test_show_prints_the_letter_and_its_record(bench: ScorerBench) -> None:
    put_letters(bench, [refused_event(bench, 0)])
    shown = dlq(bench, "show", f"{bench.pipeline.source.topic}.dlq[0]@0")
    assert "penstock.InvalidField (validate): amount: is missing" in shown.stdout
    assert '{"n": 0}' in shown.stdout
    missing = dlq(bench, "show", f"{bench.pipeline.source.topic}.dlq[0]@9")
    assert "there is no dead letter at" in missing.stderr
    nowhere = dlq(bench, "show", f"{bench.pipeline.source.topic}.dlq[99]@0")
    assert f"has no partition 99, it has {PARTITIONS} partitions" in nowhere.stderr
