"""Scoring records again: each event without a prediction gets one, whatever comes twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penstock.kafka.records import Consumed
from schemas.codec import Decoder, Encoder
from scoring.batch import FeatureReader
from scoring.inference import Inference
from scoring.lineup import LineUp, Seat
from scoring.memory import EventPosition
from scoring.model_metadata import ModelMetadata
from scoring.other_views import OtherViews
from scoring.prediction_format import ModelIdentity
from scoring.predictions import PredictionWriter
from scoring.rescoring import Rescored, Rescorer
from scoring.vectors import Vectorizer
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define
from tests.scoring.test_batch import NOW, record

RAW = "events.taps"
NO_OTHERS = OtherViews((), (), (), None, clock=lambda: 0.0)


class Known:
    """The events that have a prediction."""

    def __init__(self, *offsets: int) -> None:
        self.events = {EventPosition(RAW, 0, offset, NOW) for offset in offsets}
        self.asked: list[tuple[int, int]] = []

    def since(self, partition: int, timestamp: int) -> set[EventPosition]:
        self.asked.append((partition, timestamp))
        return self.events


@pytest.fixture(scope="module")
def rescore(tmp_path_factory):
    pipeline = define(tmp_path_factory.mktemp("pipeline"), "again", partitions=1)[1]
    plan = compile_plan(pipeline)
    schema = features_schema(plan)
    writer = PredictionWriter(pipeline, plan, ModelIdentity("taps", "1"), max_bytes=1 << 20)
    reader = FeatureReader(schema, Decoder(schema), (RAW,), Vectorizer(pipeline.model.inputs), writer)
    server = FakeServer(numberless=(-1.0,))
    model = ModelMetadata("taps", 1, pipeline.model.inputs, {}, 100)
    inference = Inference(server, server, model, deadline_s=1, clock=lambda: 0.0, on_fallback=lambda _: None)
    line_up = LineUp(None, [Seat((ModelIdentity("taps", "1"),), inference, writer)], clock=lambda: 0.0)

    def run(known: Known, *values: object, others: object = NO_OTHERS) -> Rescored:
        encoder = Encoder(schema)
        records = [
            Consumed("features.taps", 0, at, b"k", value if isinstance(value, bytes) else encoder.encode(value), [])
            for at, value in enumerate(values)
        ]
        return Rescorer(reader, line_up, others, known, lambda: NOW).rescore(records)

    return run


def test_inputs_of_other_pipelines_are_in_the_vector_that_is_scored(rescore):
    class Others:
        def complete(self, candidates):
            return replace(candidates, vectors=np.full_like(candidates.vectors, -1.0))

    assert len(rescore(Known(), record(5)).predictions) == 1
    assert rescore(Known(), record(5), others=Others()).predictions == []


def test_an_event_gets_one_prediction_and_none_if_it_has_one(rescore):
    known = Known(5)
    found = rescore(known, record(4), record(5), record(6), record(4))
    assert [prediction.origin.offset for prediction in found.predictions] == [0, 2]
    assert (found.predicted, found.letters) == (2, [])
    assert rescore(known, record(6), record(7)).predicted == 1
    assert known.asked == [(0, NOW)] * 2


def test_what_cannot_be_read_or_scored_is_refused_again_and_a_timer_is_counted(rescore):
    nan = record(2, event={"amount": -1.0})
    found = rescore(Known(), b"junk", record(1, trigger="timer"), nan, record(3))
    assert [str(letter.origin) for letter in found.letters] == ["features.taps[0]@0", "features.taps[0]@2"]
    assert (len(found.predictions), found.predicted, found.timers) == (1, 0, 1)


def test_records_without_an_event_ask_for_no_predictions(rescore):
    known = Known()
    assert len(rescore(known, b"junk").letters) == 1
    assert known.asked == []
