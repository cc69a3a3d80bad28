"""What a batch counts: each arm by itself, and what nobody is served apart from what users get."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from penstock.kafka.records import Consumed
from schemas.codec import Decoder, Encoder
from scoring.batch import FeatureReader
from scoring.inference import Inference
from scoring.lineup import LineUp, Seat, encode_batch
from scoring.model_metadata import ModelMetadata
from scoring.prediction_format import ModelIdentity
from scoring.predictions import PredictionWriter
from scoring.rollout.policy import Arm, RolloutPolicy, publish
from scoring.scorer_metrics import ScorerMetrics
from scoring.shadow_inference import ShadowInference
from scoring.vectors import Vectorizer
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define
from tests.scoring.test_batch import NOW, record

EVENTS = 40
POLICY = publish(
    RolloutPolicy(
        pipeline="taps_arms",
        mode="ab",
        salt="s",
        arms=(Arm(name="present", version=1, role="champion", weight=0.5), Arm(name="other", version=2, weight=0.5)),
        shadow=(3, 4),
    )
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Events of one batch, and what makes seats."""
    pipeline = define(tmp_path_factory.mktemp("pipeline"), "arms", partitions=1)[1]
    plan = compile_plan(pipeline)
    schema = features_schema(plan)

    def seat(version, server, *, in_shadow=False):
        identity = ModelIdentity("taps_arms", str(version))
        writer = PredictionWriter(pipeline, plan, identity, max_bytes=1 << 20)
        model = ModelMetadata("taps_arms", version, pipeline.model.inputs, {}, 100)
        if in_shadow:
            return Seat((identity,), ShadowInference(server, model, deadline_s=1, clock=lambda: 0.0), writer)
        inference = Inference(server, server, model, deadline_s=1, clock=lambda: 0.0, on_fallback=lambda _: None)
        return Seat((identity,), inference, writer)

    writer = seat(1, FakeServer()).writer
    reader = FeatureReader(schema, Decoder(schema), "events.taps", Vectorizer(pipeline.model.inputs), writer)
    encoder = Encoder(schema)
    # The amounts are 0, 1, 2 …, and so are the scores.
    records = [record(n, event={"amount": float(n)}) for n in range(EVENTS)]
    values = [encoder.encode(each) for each in records]
    batch = [Consumed("features.taps", 0, n, b"k", value, []) for n, value in enumerate(values)]
    return seat, reader.decode(batch, NOW).candidates


def counts(line_up, events):
    """The counts of each part of a batch; those of shadow predictions come last."""
    return encode_batch(line_up.score(events), NOW).counts


def test_without_a_policy_predictions_have_no_arm(bench):
    seat, events = bench
    of_all, _ = counts(LineUp(None, [seat(1, FakeServer())], clock=lambda: 0.0), events)
    assert (of_all.arm, of_all.primary) == (None, EVENTS)


def test_each_arm_counts_its_own_predictions(bench):
    seat, events = bench
    line_up = LineUp(POLICY, [seat(1, FakeServer()), seat(2, FakeServer())], clock=lambda: 0.0)
    *arms, _ = counts(line_up, events)
    found = {each.arm: each.primary for each in arms}
    assert set(found) == {"present", "other"}
    assert sum(found.values()) == EVENTS


def test_what_the_champion_scores_for_a_candidate_is_the_candidates_fallback(bench):
    seat, events = bench
    line_up = LineUp(POLICY, [seat(1, FakeServer()), seat(2, FakeServer(infers=False))], clock=lambda: 0.0)
    *arms, _ = counts(line_up, events)
    found = {each.arm: (each.primary, each.fallback) for each in arms}
    assert found["other"][0] == found["present"][1] == 0
    assert found["other"][1] + found["present"][0] == EVENTS


def test_shadow_predictions_and_versions_that_give_none_are_counted_apart(bench):
    seat, events = bench
    line_up = LineUp(
        POLICY,
        [seat(1, FakeServer(numberless=(5.0,))), seat(2, FakeServer(numberless=(5.0,)))],
        [
            seat(3, FakeServer(numberless=(5.0, 6.0)), in_shadow=True),
            *(seat(version, FakeServer(infers=False), in_shadow=True) for version in (4, 5)),
        ],
        clock=lambda: 0.0,
    )
    *arms, of_shadows = counts(line_up, events)
    # The event without a prediction has no shadow prediction either; of another one, the version has no number.
    assert sum(each.primary + each.fallback for each in arms) == EVENTS - 1
    assert (of_shadows.arm, of_shadows.shadow, of_shadows.without_shadow) == (None, EVENTS - 2, 2)
    line_up.close()


@pytest.mark.parametrize(
    ("published", "shadows", "shown"),
    [(None, 0, set()), (POLICY, 0, {"present", "other"}), (POLICY, 1, {"present", "other", "shadow"})],
)
def test_metrics_show_the_versions_the_policy_and_the_arms(bench, published, shadows, shown):
    seat, _ = bench
    registry = CollectorRegistry()
    arms = [seat(1, FakeServer()), seat(2, FakeServer())][: 1 if published is None else 2]
    in_shadow = [seat(3, FakeServer(), in_shadow=True)] * shadows
    line_up = LineUp(published, arms, in_shadow, clock=lambda: 0.0)
    line_up.show(ScorerMetrics(registry, "taps_arms", 100))
    samples = [sample for family in registry.collect() for sample in family.samples]
    versions = {sample.labels["version"] for sample in samples if sample.name == "penstock_scorer_model_info"}
    assert versions == {version for _, version in line_up.models}
    (policy,) = [sample.labels["policy"] for sample in samples if sample.name == "penstock_scorer_policy_info"]
    assert policy == ("none" if published is None else published.version)
    totals = [sample for sample in samples if sample.name == "penstock_scorer_arm_predictions_total"]
    assert {sample.labels["arm"] for sample in totals} == shown
    line_up.close()
