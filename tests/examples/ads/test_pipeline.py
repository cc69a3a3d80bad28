"""What the ads pipeline's windows know, computed by the kernel from the messages of some days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from examples.ads.delivery import messages
from examples.ads.pipeline import ClickLabel, pipeline
from examples.ads.simulation import DAY_MS, START_MS, World, WorldConfig
from examples.messages import Message
from penstock.paths import ROOT
from penstock.testing import Event, Outcome, features_of
from schemas.avro import contract_schema
from schemas.codec import Decoder
from scoring.rollout.policy_check import check_declared
from scoring.rollout.policy_files import read_policy
from scoring.training import auc

SEED, LIMIT = 7, 6_000
CONTRACTS = {source.topic: source.contract.contract_name for source in pipeline.sources}


@dataclass(frozen=True)
class Lived:
    """What was sent to the sources, what became of it, the vectors of impressions and whether they were clicked."""

    sent: list[Message]
    outcomes: list[Outcome]
    vectors: NDArray[np.float64]
    clicked: NDArray[np.bool_]


@pytest.fixture(scope="module")
def lived() -> Lived:
    everything = list(messages(SEED, LIMIT))
    sent = [message for message in everything if message.topic in CONTRACTS]
    outcomes = features_of(pipeline, [Event(m.value, m.event_time_ms, CONTRACTS[m.topic]) for m in sent])
    assert pipeline.labels is not None
    assert pipeline.labels.horizon is not None
    decoder = Decoder(contract_schema(ClickLabel))
    labels = (decoder.decode(m.value or b"") for m in everything if m.kind == "label")
    known = {label["impression_id"]: label["label_time"] for label in labels}
    shown = [outcome for outcome in outcomes if outcome.emitted]
    vectors = [[outcome[name] for name in pipeline.model.inputs] for outcome in shown]
    clicked = [
        known.get(outcome.columns["impression_id"], 2**62)
        <= int(outcome.columns["event_time"]) + pipeline.labels.horizon  # type: ignore[arg-type]
        for outcome in shown
    ]
    return Lived(sent, outcomes, np.array(vectors, float), np.array(clicked))


def test_every_impression_has_a_record_and_clicks_and_conversions_have_none(lived: Lived) -> None:
    for message, outcome in zip(lived.sent, lived.outcomes, strict=True):
        assert outcome.emitted == (message.kind == "event")
        assert outcome.updates == (message.kind == "update")
        assert outcome.duplicate == (message.kind == "duplicate")
        assert outcome.refused == message.expected
    assert len(lived.vectors) == LIMIT


def test_every_feature_is_an_input_of_the_model_and_says_something(lived: Lived) -> None:
    features = {name for view in pipeline.views for name in view.inputs()}
    assert features == {name for name in pipeline.model.inputs if not name.startswith("event.")}
    for name, values in zip(pipeline.model.inputs, lived.vectors.T, strict=True):
        assert len(np.unique(values[~np.isnan(values)])) > 1, name


def test_no_user_has_seen_a_campaign_more_often_in_a_day_than_the_cap_allows(lived: Lived) -> None:
    shown = lived.vectors[:, pipeline.model.inputs.index("user_campaign.shown_24h")]
    assert set(shown) == set(range(1, WorldConfig().cap + 1))


def test_slots_are_clicked_less_the_lower_they_are_and_windows_know_it(lived: Lived) -> None:
    place, rate = (
        lived.vectors[:, pipeline.model.inputs.index(n)] for n in ("event.place", "slot_clicks.click_rate_7d")
    )
    later = slice(LIMIT // 2, None)
    means = [float(rate[later][place[later] == number].mean()) for number in (1, 2, 3, 4)]
    assert means == sorted(means, reverse=True)


def test_a_campaign_has_spent_no_more_of_its_budget_than_has_passed_of_the_day(lived: Lived) -> None:
    """On the first day, whose windows have no other one: but for the price of one impression."""
    newest, dearest, spent = START_MS, 0.0, []
    for outcome in filter(lambda one: one.emitted, lived.outcomes):
        newest = max(newest, int(outcome.columns["event_time"]))  # type: ignore[arg-type]
        if newest >= START_MS + DAY_MS:
            break
        of = outcome.views["campaign_delivery"]
        assert of is not None
        share, budget = of.values["spent_24h"], of.values["budget_24h"]
        spent.append((float(share), (newest - START_MS) / DAY_MS, float(budget)))  # type: ignore[arg-type]
        dearest = max(dearest, float(outcome.columns["cost"]))  # type: ignore[arg-type]
    assert len(spent) > 1_000
    assert all(share <= passed + dearest / budget for share, passed, budget in spent)
    assert max(share for share, *_ in spent) > 0.9


def test_a_bandit_over_what_the_windows_know_draws_better_creatives_than_chance(lived: Lived) -> None:
    """As the ad server does; the world knows how good each creative is."""
    world = World(SEED, WorldConfig())
    rng, counts = np.random.default_rng(1), np.zeros((2, *world.creative_quality.shape))
    for outcome in lived.outcomes:
        if outcome.emitted and (view := outcome.views["creative_clicks"]) is not None:
            campaign, creative = int(view.entity[1:4]), int(view.entity[5:])
            counts[:, campaign, creative] = view.values["shown_7d"], view.values["clicks_7d"]
    shown, clicks = counts
    drawn = rng.beta(1 + clicks, 1 + np.maximum(shown - clicks, 0), (200, *shown.shape)).argmax(axis=2)
    served = np.take_along_axis(world.creative_quality, drawn.T, axis=1)
    assert served.mean() > 1.15 * world.creative_quality.mean()


def test_windows_help_to_tell_what_will_be_clicked(lived: Lived) -> None:
    windows = later_auc(lived, range(len(pipeline.model.inputs)))
    alone = later_auc(lived, [n for n, name in enumerate(pipeline.model.inputs) if name.startswith("event.")])
    assert windows > alone + 0.04


def later_auc(lived: Lived, inputs: range | list[int]) -> float:
    """The AUC on the last 30 % of a small model that has learnt from the others, with some of the inputs."""
    vectors, cut = lived.vectors[:, list(inputs)], int(0.7 * LIMIT)
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(
            learning_rate=0.06, max_iter=60, max_leaf_nodes=7, min_samples_leaf=40, random_state=1
        )
        model.fit(vectors[:cut], lived.clicked[:cut])
        return auc(model.predict_proba(vectors[cut:])[:, 1], lived.clicked[cut:])


def test_users_are_hashed_and_no_record_has_their_id(lived: Lived) -> None:
    plain = {message.key.decode() for message in lived.sent if message.key is not None}
    for outcome in lived.outcomes:
        if outcome.emitted:
            view = outcome.views["user_campaign"]
            assert view is not None
            user, campaign = view.entity.split("|")
            assert user not in plain
            assert campaign == outcome.columns["campaign_id"]


@pytest.mark.parametrize(("name", "mode"), [("bandit.yaml", "bandit"), ("rollout.yaml", "canary")])
def test_its_policies_are_policies_of_the_pipeline(name: str, mode: str) -> None:
    file = ROOT / "examples" / "ads" / name
    policy = read_policy(file)
    assert policy.mode == mode
    check_declared(policy, pipeline, str(file))
