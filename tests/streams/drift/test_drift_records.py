"""A block of records is read as its records are one by one: the same observations, bit by bit, and dead letters."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.fraud.pipeline import pipeline as fraud
from penstock import Cascade, Monitors
from schemas.avro import fingerprint
from schemas.codec import Decoder, Encoder
from schemas.columns import FEWEST
from schemas.committed import record_file
from schemas.records import PREDICTION_SCHEMA, TIMER
from streams.drift.drift_records import ObservationReader, Reading, observation_reader, observer_of
from streams.plan.feature_records import features_schema
from streams.plan.project import Project

NUMBERS = (0.0, -0.0, 1.5, -1e30, 1e39, -1e300, math.inf, -math.inf, math.nan, 1 / 3, 5e-324)
INPUTS = ("event.amount_eur", "card_spend.count_1m", "card_spend.since_present_7d", "customer_activity.count_1h")
PIPELINE = fraud.model_copy(update={"monitors": Monitors(inputs=INPUTS)})
VERSION = 3


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.of(PIPELINE, tmp_path_factory.mktemp("schemas"))


def random_value(avro: Any, rng: random.Random) -> Any:  # noqa: PLR0911 - one for each type
    """A value of an Avro type."""
    if isinstance(avro, list):
        return None if rng.random() < 0.2 else random_value(avro[1], rng)
    match avro["type"] if isinstance(avro, dict) else avro:
        case "record":
            return {field["name"]: random_value(field["type"], rng) for field in avro["fields"]}
        case "array":
            return [random_value(avro["items"], rng) for _ in range(rng.randrange(4))]
        case "string":
            return rng.choice(["", "event", "ä", "events.transactions", "x" * 80])
        case "double":
            return rng.choice(NUMBERS) if rng.random() < 0.3 else rng.gauss(0, 10)
        case "boolean":
            return rng.random() < 0.5
        case "bytes":
            return rng.randbytes(rng.randrange(20))
        case "int":
            return rng.randrange(4)
        case _:
            return rng.choice([0, 2**24 + 1, 2**53 + 1, 2**62, -5]) if rng.random() < 0.3 else rng.randrange(10**6)


def feature(project: Project, rng: random.Random) -> bytes:
    schema = features_schema(project.plan)
    record = random_value(schema, rng) | {"trigger": TIMER if rng.random() < 0.1 else "event"}
    return Encoder(schema).encode(record)


def prediction(rng: random.Random) -> bytes:
    record = random_value(PREDICTION_SCHEMA, rng)
    record["model"] = rng.choice([PIPELINE.model.name] * 5 + [PIPELINE.model.name + "2"])
    record["model_version"] = rng.choice([str(VERSION)] * 5 + ["30", "2"])
    return Encoder(PREDICTION_SCHEMA).encode(record)


def damaged(value: bytes, rng: random.Random) -> bytes | None:
    match rng.randrange(5):
        case 0:
            return None
        case 1:
            return value[: rng.randrange(len(value))]
        case 2:
            return value + b"\0"
        case 3:
            return value[:4] + b"\0" + value[5:]
        case _:
            place = rng.randrange(len(value))
            return value[:place] + rng.randbytes(1) + value[place + 1 :]


def one_by_one(reader: ObservationReader, offsets: list[int], values: list[bytes | None]) -> Reading:
    return reader._singly([(offset, value or b"") for offset, value in zip(offsets, values, strict=True)])


def assert_same(found: Reading, expected: Reading) -> None:
    assert found.observations.offsets.tolist() == expected.observations.offsets.tolist()
    assert found.observations.event_times.tolist() == expected.observations.event_times.tolist()
    assert list(found.observations.sources) == list(expected.observations.sources)
    # -0.0 and 0.0 differ, and any NaN is a null.
    numbers = [np.where(np.isnan(r.observations.values), np.nan, r.observations.values) for r in (found, expected)]
    assert numbers[0].shape == numbers[1].shape
    assert numbers[0].tobytes() == numbers[1].tobytes()
    assert {offset: (type(error), error.what) for offset, error in found.undecodable.items()} == {
        offset: (type(error), error.what) for offset, error in expected.undecodable.items()
    }


@pytest.mark.parametrize("topic", [PIPELINE.features_topic, PIPELINE.predictions_topic])
@pytest.mark.parametrize("garbage", [0.0, 0.2])
def test_a_block_is_read_as_its_records_are_one_by_one(project: Project, topic: str, garbage: float) -> None:
    rng = random.Random(f"{topic}{garbage}")
    reader = observation_reader(topic, project, VERSION)
    monitored = failed = 0
    for size in (1, FEWEST - 1, FEWEST, FEWEST + 1, 300, 700):
        make = prediction if topic == PIPELINE.predictions_topic else lambda rng: feature(project, rng)
        values: list[bytes | None] = [make(rng) for _ in range(size)]
        values = [damaged(value, rng) if value and rng.random() < garbage else value for value in values]
        offsets = sorted(rng.sample(range(10 * size), size))
        found = reader.read(offsets, values)
        assert_same(found, one_by_one(reader, offsets, values))
        monitored += len(found.observations.offsets)
        failed += len(found.undecodable)
    assert monitored > 500
    assert (failed > 100) == (garbage > 0)


def test_values_are_those_of_the_model_as_float32(project: Project) -> None:
    rng, reader = random.Random(1), observation_reader(PIPELINE.features_topic, project, VERSION)
    values = [feature(project, rng) for _ in range(100)]
    found = reader.read(list(range(100)), values).observations
    decoder = Decoder(features_schema(project.plan))
    for row, offset in enumerate(found.offsets.tolist()):
        record = decoder.decode(values[offset])
        for column, name in enumerate(INPUTS):
            scope, _, field = name.partition(".")
            value = None if record[scope] is None else record[scope][field]
            with np.errstate(over="ignore"):
                expected = math.nan if value is None else float(np.float32(value))
            assert struct.pack("d", found.values[row, column]) == struct.pack("d", expected) or math.isnan(expected)


def test_only_predictions_of_the_model_and_version_are_monitored(project: Project) -> None:
    rng, reader = random.Random(2), observation_reader(PIPELINE.predictions_topic, project, VERSION)
    values = [prediction(rng) for _ in range(200)]
    decoder, observe = Decoder(PREDICTION_SCHEMA), observer_of(PIPELINE.predictions_topic, PIPELINE, VERSION)
    expected = [offset for offset, value in enumerate(values) if observe(decoder.decode(value)) is not None]
    assert 0 < len(expected) < 200
    assert reader.read(list(range(200)), values).observations.offsets.tolist() == expected


def test_of_a_cascade_the_fast_scores_of_all_its_predictions_are_monitored(tmp_path: Path) -> None:
    model = PIPELINE.model.model_copy(update={"cascade": Cascade(strong="big")})
    project, rng = Project.of(PIPELINE.model_copy(update={"model": model}), tmp_path), random.Random(4)
    reader, decoder = observation_reader(PIPELINE.predictions_topic, project, VERSION), Decoder(PREDICTION_SCHEMA)
    values = []
    for _ in range(200):
        record = random_value(PREDICTION_SCHEMA, rng)
        if record["cascade"] is not None:
            record["cascade"]["fast_version"] = rng.choice([str(VERSION)] * 5 + ["30"])
        values.append(Encoder(PREDICTION_SCHEMA).encode(record))
    ways = [decoder.decode(value)["cascade"] for value in values]
    expected = [n for n, way in enumerate(ways) if way is not None and way["fast_version"] == str(VERSION)]
    scores = [ways[n]["fast_score"] for n in expected]
    for reading in (reader.read(list(range(200)), values), one_by_one(reader, list(range(200)), list(values))):
        assert reading.observations.offsets.tolist() == expected
        with np.errstate(over="ignore"):
            wanted = np.array(scores, np.float64).astype(np.float32).astype(np.float64)
        assert np.array_equal(reading.observations.values[:, 0], wanted, equal_nan=True)


def test_records_of_earlier_definitions_are_read_beside_those_of_the_current_one(tmp_path: Path) -> None:
    project, rng = Project.of(PIPELINE, tmp_path), random.Random(3)
    current = features_schema(project.plan)
    fields = {field["name"]: field for field in current["fields"]}
    without_a_monitored_view = current | {"fields": [fields[name] for name in fields if name != "customer_activity"]}
    without_another_view = current | {"fields": [fields[name] for name in fields if name != "terminal_risk"]}
    schemas = [current, without_a_monitored_view, without_another_view]
    for schema in schemas:
        file = record_file(PIPELINE.features_topic, fingerprint(schema).hex(), tmp_path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(schema), encoding="utf-8")
    writers = [rng.randrange(3) for _ in range(300)]
    values: list[bytes | None] = [
        Encoder(schemas[writer]).encode(random_value(schemas[writer], rng) | {"trigger": "event"}) for writer in writers
    ]
    offsets = list(range(300))
    reader = observation_reader(PIPELINE.features_topic, project, VERSION)
    found = reader.read(offsets, values)
    assert_same(found, one_by_one(reader, offsets, values))
    assert found.undecodable == {}
    assert found.observations.offsets.tolist() == [offset for offset in offsets if writers[offset] != 1]
