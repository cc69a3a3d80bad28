"""Decisions in batches: for every event those of the scorer, which is the oracle here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from scoring.batch_decisions import FAILED, NOT_A_NUMBER, Decider, Decisions, champion_alone
from scoring.cascade_inference import CascadeInference
from scoring.decision import Policy
from scoring.lineup import LineUp, encode_batch
from scoring.local_inference import LocalInference
from scoring.local_versions import LocalArm
from scoring.prediction_format import ModelIdentity
from scoring.rollout.policy import Exploration, PublishedPolicy
from tests.scoring.fake_server import FakeServer
from tests.scoring.line_ups import MODEL, NOW, RULE, Bench, Tap, ab, decoded, metadata
from tests.scoring.scorer_bench import define

EXPLORATION = Exploration(share=0.01, decision="pass", salt="taps/exploration")
TAPS = [Tap(f"card-{n}" if n % 2 else None, n % 16 / 16, f"event-{n}") for n in range(400)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(define(tmp_path_factory.mktemp("pipeline"), "decided", partitions=1)[1])


def local(version: int, server: FakeServer, strong: FakeServer | None = None) -> LocalArm:
    fast, identity = LocalInference(server, metadata(version)), ModelIdentity(MODEL, str(version))
    if strong is None:
        return LocalArm(identity, fast)
    cascade = CascadeInference(fast, LocalInference(strong, metadata(9)), RULE)
    return LocalArm(identity, cascade, (), ModelIdentity("strong", "9"), RULE.band)


def decide(bench: Bench, published: PublishedPolicy, arms: Sequence[LocalArm], taps: Sequence[Tap]) -> Decisions:
    events = bench.events(taps)
    decider = Decider(published, arms, Policy.of(bench.pipeline.model))
    return decider.decide(events.vectors, [tap.card for tap in taps], events.ids())


def by_event(taps: Sequence[Tap], found: Decisions) -> dict[str, tuple[object, ...]]:
    """What the events with a score have."""
    columns = (found.scores.tolist(), found.decisions, found.models, found.arms, found.explored.tolist())
    rows = zip(taps, found.errors, *columns, strict=True)
    return {tap.event_id: (*row,) for tap, error, *row in rows if error is None}


def by_scorer(line_up: LineUp, bench: Bench, taps: Sequence[Tap]) -> dict[str, tuple[object, ...]]:
    """The same by the scorer, in batches of its own."""
    found: dict[str, tuple[object, ...]] = {}
    for first in range(0, len(taps), 23):
        answers = encode_batch(line_up.score(bench.events(taps[first : first + 23], first)), NOW)
        for says in decoded(answers.predictions):
            rollout, model = says["rollout"], ModelIdentity(says["model"], says["model_version"])
            found[says["event_id"]] = (says["score"], says["decision"], model, rollout["arm"], rollout["explored"])
    return found


@pytest.mark.parametrize("candidate", ["scores", "has some numbers", "fails"])
@pytest.mark.parametrize("cascade", [False, True], ids=["one model", "a cascade"])
def test_events_are_decided_as_the_scorer_decides_them(bench: Bench, candidate: str, cascade: bool) -> None:
    published = ab(0.7, 0.3, exploration=EXPLORATION)
    fast, strong = FakeServer(refused_value=13), FakeServer(added=0.25)
    other = FakeServer(added=0.3, infers=candidate != "fails")
    other.numberless = (0.5, 0.75) if candidate == "has some numbers" else ()
    champion = bench.cascade(1, fast, strong) if cascade else bench.seat(1, fast)
    line_up = LineUp(published, [champion, bench.shadow(2, other)], clock=lambda: 0.0)
    found = decide(bench, published, [local(1, fast, strong if cascade else None), local(2, other)], TAPS)
    assert by_event(TAPS, found) == by_scorer(line_up, bench, TAPS)
    assert 0 < found.explored.sum() < 20
    assert set(found.arms) == {"a", "b"}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(amounts=st.lists(st.sampled_from([0.1, 0.6, 13.0, -1.0]), min_size=1, max_size=40))
def test_a_row_that_breaks_the_model_is_found_and_takes_no_other_with_it(bench: Bench, amounts: list[float]) -> None:
    taps = [Tap(None, amount, f"event-{n}") for n, amount in enumerate(amounts)]
    server = FakeServer(refused_value=13, numberless=(-1.0,))
    found = decide(bench, ab(1.0), [local(1, server)], taps)
    why = {13.0: FAILED, -1.0: NOT_A_NUMBER}
    assert found.errors == [why.get(amount) for amount in amounts]
    assert found.decisions == [None if amount in why else "block" if amount > 0.5 else "pass" for amount in amounts]
    assert np.isnan(found.scores).tolist() == [amount in why for amount in amounts]


def test_a_version_that_fails_on_any_input_is_an_error(bench: Bench) -> None:
    with pytest.raises(PenstockError, match="model taps version 1 fails on any input"):
        decide(bench, ab(1.0), [local(1, FakeServer(infers=False))], TAPS[:3])


def test_a_version_alone_explores_nothing(bench: Bench) -> None:
    found = decide(bench, champion_alone("taps", 4), [local(4, FakeServer())], TAPS)
    assert not found.explored.any()
    assert {model.version for model in found.models} == {"4"}
