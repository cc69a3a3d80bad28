"""Corrections: the same event and vector, the champion's score, and what they correct."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.kafka.records import Produced
from schemas.history import record_decoder
from scoring.corrections import Corrector
from scoring.inference import Inference
from scoring.lineup import Seat
from scoring.model_metadata import ModelMetadata
from scoring.prediction_format import ModelIdentity
from scoring.predictions import PredictionWriter
from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.transitions import By
from scoring.touched_predictions import TouchedPrediction
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define
from tests.scoring.test_touched_predictions import prediction

BY = By("ada@ops", "naïve scores", 5)
NOW = 1_800_000_000_000
NO_NUMBER = -1.0
# At most 1 % of the entities can be explored: of these, some are.
ENTITIES = [f"card-{number}" for number in range(600)]
EXPLORATION = Exploration(share=0.01, decision="pass", salt="taps/exploration")


def policy(*, candidate: bool = False, exploration: Exploration | None = None) -> PublishedPolicy:
    arms = [Arm(name="present", version=3, role="champion", weight=0.5 if candidate else None)]
    if candidate:
        arms.append(Arm(name="next", version=5, weight=0.5))
    mode = "ab" if candidate else "shadow"
    return publish(RolloutPolicy(pipeline="taps", mode=mode, salt="taps/1", arms=tuple(arms), exploration=exploration))


def touched(offset: int, amount: float, **changes: Any) -> TouchedPrediction:
    vector = np.array([amount, np.nan, 2.0], "<f4").tobytes()
    says = {**prediction(100 + offset), "outputs": [], "reasons": [], "defaulted": [], "cascade": None}
    says |= {"vector": vector} | changes
    return TouchedPrediction(
        0, offset, 6_000, b"key", [("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")], 99, says
    )


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return define(tmp_path_factory.mktemp("pipeline"), "corrected", partitions=1)[1]


@pytest.fixture
def corrector(pipeline: Pipeline) -> Callable[..., Corrector]:
    """Its champion's score is the first input of the vector."""
    server = FakeServer(numberless=(NO_NUMBER,))
    model = ModelMetadata("taps", 3, pipeline.model.inputs, {}, 1_000)
    inference = Inference(server, server, model, deadline_s=1, clock=lambda: 0.0, on_fallback=lambda _: None)
    identity = ModelIdentity("taps", "3")
    seconds = itertools.count()

    def make(
        published: PublishedPolicy, check: Callable[[str, str], None] = lambda *_: None, max_bytes: int = 1 << 20
    ) -> Corrector:
        writer = PredictionWriter(pipeline, compile_plan(pipeline), identity, max_bytes=max_bytes)
        champion = Seat((identity,), inference, writer)
        return Corrector(pipeline, published, champion, BY, check, now=lambda: NOW, clock=lambda: next(seconds))

    return make


def said(correction: Produced) -> dict[str, Any]:
    return record_decoder("prediction").decode(correction.value or b"")


def test_a_correction_is_the_prediction_with_the_champions_score(
    corrector: Callable[..., Corrector], pipeline: Pipeline
) -> None:
    published, before = policy(), touched(7, 0.25)
    (correction,) = corrector(published).correct([before])
    by = {"policy": published.version, "arm": "present", "probability": 1.0}
    assert said(correction) == before.says | {
        "pipeline": pipeline.name,
        "score": 0.25,
        "decision": "pass",
        "model_version": "3",
        "policy_version": said(correction)["policy_version"],
        "scored_at": NOW,
        "rollout": by | {"explored": False, "propensity": 1.0, "infer_ms": 1_000.0},
    }
    assert correction[:3] == (pipeline.corrections_topic, 0, b"key")
    assert (correction.timestamp, correction.origin) == (NOW, before)


def test_its_headers_say_what_it_corrects_and_go_on_with_the_trace(
    corrector: Callable[..., Corrector], pipeline: Pipeline
) -> None:
    (correction,) = corrector(policy()).correct([touched(7, 0.25)])
    headers = dict(correction.headers)
    assert len(headers) == len(correction.headers)
    prefix = "penstock.corrects."
    assert {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)} == {
        "topic": pipeline.predictions_topic.encode(),
        "partition": b"0",
        "offset": b"7",
        "decision": b"block",
        "author": b"ada@ops",
        "reason": "naïve scores".encode(),
    }
    assert headers["ce_source"] == f"/penstock/{pipeline.name}/rescore".encode()
    assert (headers["ce_type"], headers["ce_id"]) == (b"penstock.correction.v1", b"e-0-107")
    assert (headers["traceparent"] or b"").startswith(b"00-" + b"1" * 32)


def test_where_the_champion_has_no_number_there_is_no_correction(corrector: Callable[..., Corrector]) -> None:
    some = [touched(1, 0.25), touched(2, NO_NUMBER), touched(3, 0.75)]
    found = corrector(policy()).correct(some)
    assert [(each.origin, said(each)["score"]) for each in found] == [(some[0], 0.25), (some[2], 0.75)]


def test_a_correction_that_would_be_too_long_is_left_out(corrector: Callable[..., Corrector]) -> None:
    some = [touched(1, 0.25), touched(2, 0.25, event_id="e" * 5_000)]
    assert [each.origin for each in corrector(policy(), max_bytes=4_000).correct(some)] == some[:1]


def test_an_explored_event_stays_permitted_if_the_present_policy_explores_it(
    corrector: Callable[..., Corrector],
) -> None:
    some = [touched(row, 0.75, entity=entity) for row, entity in enumerate(ENTITIES)]
    found = [said(each) for each in corrector(policy(exploration=EXPLORATION)).correct(some)]
    explored = [one["rollout"]["explored"] for one in found]
    assert 0 < sum(explored) < len(some)
    assert [one["decision"] == "pass" for one in found] == explored
    assert {(one["rollout"]["explored"], one["rollout"]["propensity"]) for one in found} == {
        (True, 0.01),
        (False, 0.99),
    }


def test_the_champion_corrects_what_the_present_policy_gives_a_candidate(corrector: Callable[..., Corrector]) -> None:
    some = [touched(row, 0.75, entity=entity) for row, entity in enumerate(ENTITIES)]
    found = [said(each) for each in corrector(policy(candidate=True)).correct(some)]
    assert {(one["model_version"], one["rollout"]["arm"], one["rollout"]["probability"]) for one in found} == {
        ("3", "present", 1.0)
    }


def test_each_version_is_checked_once_and_what_does_not_fit_is_refused(corrector: Callable[..., Corrector]) -> None:
    asked: list[tuple[str, str]] = []

    def check(*version: str) -> None:
        asked.append(version)
        if version == ("taps", "5"):
            raise PenstockError("its inputs are others")

    one = corrector(policy(), check)
    one.correct([touched(1, 0.25), touched(2, 0.25)])
    one.correct([touched(3, 0.25)])
    assert asked == [("taps", "4")]
    with pytest.raises(PenstockError, match="its inputs are others"):
        one.correct([touched(4, 0.25, model_version="5")])
