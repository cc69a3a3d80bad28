"""The newest predictions, alerts and dead letters, from their records."""

from __future__ import annotations

from pathlib import Path

from penstock.kafka.reading import Record
from penstock.running.newest import alerts_in, latencies_in, letters_in
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA, PREDICTION_SCHEMA
from tests.loop.taps import Taps, define
from tests.schemas.test_history import PREDICTION


def record(value: bytes, timestamp: int = 5_000, offset: int = 0, **rest: object) -> Record:
    given = {"key": None, "headers": ()} | rest
    return Record(partition=1, offset=offset, timestamp=timestamp, value=value, **given)


def test_a_latency_is_from_the_event_to_the_prediction_and_other_records_have_none() -> None:
    encode = Encoder(PREDICTION_SCHEMA).encode
    source = PREDICTION["source"]
    good = record(encode(PREDICTION | {"source": source | {"timestamp": 4_600}}))
    undated = record(encode(PREDICTION | {"source": source | {"timestamp": -1}}))
    assert latencies_in([good, undated, record(b"hello"), record(b"")]) == [(5_000, 400)]


def test_alerts_are_the_newest_first_and_few(tmp_path: Path) -> None:
    taps = Taps(define(tmp_path))
    taps.alarm()
    (value,) = taps.topics[taps.project.pipeline.drift_topic]
    alert, encode = record_decoder("drift_alert").decode(value), Encoder(DRIFT_SCHEMA).encode
    found = alerts_in([record(encode(alert | {"event_time": time})) for time in (1, 4, 2, 3)] + [record(b"x")])
    assert [alert.time_ms for alert in found] == [4, 3, 2]


def test_letters_of_other_pipelines_and_records_that_are_none_are_passed_over() -> None:
    def letter(pipeline: str) -> Record:
        one = DeadLetter("events", 0, 7, pipeline, "decode", "penstock.job", "penstock.Undecodable", "it is no Avro")
        return record(b"", offset=3, headers=tuple(one.headers()))

    (found,) = letters_in("events.dlq", [letter("ads"), letter("fraud"), record(b"x")], "ads")
    assert (found.place, found.component, found.message) == ("events.dlq[1]@3", "penstock.job", "it is no Avro")
