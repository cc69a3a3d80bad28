"""The rivals of the scorer publish predictions that have its score and its form."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from schemas.codec import Encoder
from schemas.history import record_decoder
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.bench.scoring.rivals import Records
from tests.scoring.scorer_bench import define
from tests.scoring.test_batch import NOW, record


class Message(NamedTuple):
    """As of Kafka's client."""

    content: bytes

    def value(self) -> bytes:
        return self.content

    def topic(self) -> str:
        return "features.taps"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7


def test_a_rival_publishes_the_models_score_of_each_record(tmp_path: Path) -> None:
    pipeline = define(tmp_path, "rivals", partitions=1)[1]
    encoder = Encoder(features_schema(compile_plan(pipeline)))
    view = {"entity": "c", "epoch": 1, "seq": 1, "as_of": NOW, "late": False, "count_1h": 1, "amount_sum_1h": 1.0}
    messages = [Message(encoder.encode(record(n, activity=view))) for n in range(2)]
    outputs = np.array([[0.75, 3.0], [0.25, 4.0]], np.float32)  # the second is kept beside the score
    values = Records(pipeline).predictions(messages, lambda vectors: outputs[: len(vectors)])  # type: ignore[arg-type]
    found = [record_decoder("prediction").decode(value) for value in values]
    assert [(one["event_id"], one["score"], one["decision"]) for one in found] == [
        ("e0", 0.75, "block"),
        ("e1", 0.25, "approve"),
    ]
