"""Each event is scored by the arm of its entity and has one answer, whatever fails; and what a batch counts."""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.errors import PenstockError
from scoring.audit import in_slice, positions
from scoring.breaker import LEAST
from scoring.hosted_inference import NoScoresNow
from scoring.lineup import LineUp, encode_batch
from scoring.rollout.policy import Exploration
from scoring.scorer_metrics import ScorerMetrics
from tests.scoring.fake_server import FakeServer
from tests.scoring.line_ups import NOW, RULE, Bench, Tap, ab, decoded
from tests.scoring.scorer_bench import define

EXPLORATION = Exploration(share=0.01, decision="pass", salt="taps/exploration")
_CARDS = np.array([f"card-{number}" for number in range(3_000)])
# Few entities are explored: tests take some that are, and some that are not.
CARDS = [*_CARDS[in_slice(EXPLORATION.salt, _CARDS.tolist(), 0.01)][:12].tolist(), *_CARDS[:24].tolist()]
NUMBERLESS = 7.0
"""The amount for which some versions have no number."""
AMOUNTS = [0.0, 0.125, 0.375, 0.625, 1.0, NUMBERLESS]


class Wide(FakeServer):
    """Answers with one number too many."""

    def infer(self, model, version, vectors, deadline_s):
        return np.repeat(super().infer(model, version, vectors, deadline_s), 2, axis=1)


# A server by what goes wrong: with the champion only what concerns single rows.
SERVERS = {
    "nothing": lambda added: FakeServer(added=added),
    "no number for some": lambda added: FakeServer(added=added, numberless=(NUMBERLESS,)),
    "infinite for some": lambda added: FakeServer(added=added, numberless=(NUMBERLESS,), nothing=math.inf),
    "fails on any input": lambda added: FakeServer(added=added, infers=False),
    "is late": lambda added: FakeServer(added=added, infers=False, late=True),
    "answers with another width": lambda added: Wide(added=added),
}
OF_ROWS = ["nothing", "no number for some", "infinite for some"]
WEIGHTS = [(1.0,), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.4, 0.3, 0.3)]


@pytest.fixture(scope="module")
def taps(tmp_path_factory):
    return Bench(define(tmp_path_factory.mktemp("pipeline"), "lineup", partitions=1)[1])


@st.composite
def rollouts(draw):
    """Arms, an exploration or none, what goes wrong with each version, and how it is served."""
    weights = draw(st.sampled_from(WEIGHTS))
    exploration = draw(st.sampled_from([None, EXPLORATION]))
    faults = [draw(st.sampled_from(OF_ROWS)), *(draw(st.sampled_from(list(SERVERS))) for _ in weights[1:])]
    kinds = [draw(st.sampled_from(["seat", "hosted"])) for _ in weights]
    shadows = draw(st.lists(st.sampled_from(list(SERVERS)), max_size=2))
    return weights, exploration, faults, kinds, shadows


def line_up_of(taps, rollout):
    """The line-up; version n adds n / 8, and those in shadow are 11 and 12."""
    weights, exploration, faults, kinds, shadows = rollout
    published = ab(*weights, exploration=exploration, shadow=tuple(range(11, 11 + len(shadows))))
    arms = [
        getattr(taps, kind)(version, SERVERS[fault](version / 8))
        for version, (fault, kind) in enumerate(zip(faults, kinds, strict=True), 1)
    ]
    return LineUp(
        published,
        arms,
        [taps.shadow(11 + n, SERVERS[fault]((11 + n) / 8)) for n, fault in enumerate(shadows)],
        clock=itertools.count().__next__,
    )


def has_number(fault, amount):
    return fault == "nothing" or (fault in OF_ROWS and amount != NUMBERLESS)


some_taps = st.lists(
    st.builds(Tap, st.none() | st.sampled_from(CARDS), st.sampled_from(AMOUNTS)), min_size=1, max_size=30
)


def written(line_up, events):
    """Predictions that users get, shadow predictions and dead letters, each by the offset of its feature record."""
    answers = encode_batch(line_up.score(events), NOW)
    by_topic = defaultdict(list)
    for prediction, says in zip(answers.predictions, decoded(answers.predictions), strict=True):
        assert prediction.origin.offset == says["features_offset"]
        by_topic["shadow" if prediction.topic.endswith(".shadow") else "live"].append(says)
    letters = [int(dict(letter.headers)["penstock.source.offset"]) for letter in answers.letters]
    return by_topic["live"], by_topic["shadow"], letters


@settings(derandomize=True, deadline=None, max_examples=80)
@given(rollouts(), some_taps)
def test_each_event_gets_one_answer_in_its_place_from_the_arm_of_its_entity(taps, rollout, some):
    weights, exploration, faults, _, shadows = rollout
    line_up = line_up_of(taps, rollout)
    live, in_shadow, letters = written(line_up, taps.events(some))
    line_up.close()
    # One answer for each event, in order.
    offsets = [one["features_offset"] for one in live]
    assert offsets == sorted(offsets)
    assert letters == sorted(letters)
    assert sorted([*offsets, *letters]) == list(range(len(some)))
    assert letters == [n for n, tap in enumerate(some) if not _is_scored(weights, faults, tap, n)]
    for one in live:
        tap = some[one["features_offset"]]
        name = tap.card or one["event_id"]
        arm = _arm_of(weights, name)
        version = arm + 1 if has_number(faults[arm], tap.amount) else 1
        says = one["rollout"]
        assert (says["policy"], says["arm"]) == (line_up.published.version, "abc"[arm])
        assert says["probability"] == weights[arm]
        explored = exploration is not None and bool(in_slice(exploration.salt, [name], exploration.share)[0])
        share = 0.0 if exploration is None else exploration.share
        assert (says["explored"], says["propensity"]) == (explored, share if explored else 1 - share)
        assert (one["model_version"], one["score"]) == (str(version), tap.amount + version / 8)
        assert one["route"] == ("primary" if version == arm + 1 else "fallback")
        assert one["decision"] == ("pass" if explored or one["score"] < 0.5 else "block")
    # In shadow, each version that has a number scores the events that have a prediction, and nothing else.
    expected = [
        (str(11 + number), offset)
        for number, fault in enumerate(shadows)
        for offset in offsets
        if has_number(fault, some[offset].amount)
    ]
    assert [(one["model_version"], one["features_offset"]) for one in in_shadow] == expected
    for one in in_shadow:
        says = one["rollout"]
        assert (says["arm"], says["probability"], says["explored"], says["propensity"]) == ("shadow", 1.0, False, 1.0)
        assert one["decision"] == ("block" if one["score"] >= 0.5 else "pass")


def _arm_of(weights, name):
    """The ranges of a first policy: candidates by name from part 0 on, then the champion."""
    part, end = positions("taps/arms", [name])[0], 0.0
    for arm in range(1, len(weights)):
        end += weights[arm]
        if part < round(end, 4):
            return arm
    return 0


def _is_scored(weights, faults, tap, offset):
    arm = _arm_of(weights, tap.card or f"tap-{offset}")
    return has_number(faults[arm], tap.amount) or has_number(faults[0], tap.amount)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(rollouts(), some_taps, st.data())
def test_batches_that_are_split_in_any_way_have_the_same_answers(taps, rollout, some, data):
    """But for the time that the arm took, of which each batch has one."""

    def without_time(answers):
        live, in_shadow, letters = answers
        for one in (*live, *in_shadow):
            del one["rollout"]["infer_ms"]
        in_shadow.sort(key=lambda one: (one["model_version"], one["features_offset"]))
        return live, in_shadow, letters

    whole = line_up_of(taps, rollout)
    expected = without_time(written(whole, taps.events(some)))
    # Each part by another scorer, which knows nothing of those before.
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, len(some)), max_size=4))), len(some)]
    parts = []
    for start, end in itertools.pairwise(cuts):
        part = line_up_of(taps, rollout)
        parts.append(written(part, taps.events(some[start:end], start)))
        part.close()
    assert without_time([list(itertools.chain(*each)) for each in zip(*parts, strict=True)]) == expected
    whole.close()


def test_without_a_policy_the_current_version_scores_all_and_predictions_have_no_arm(taps):
    line_up = LineUp(None, [taps.seat(4)], clock=lambda: 0.0)
    live, in_shadow, letters = written(line_up, taps.events([Tap("card-1", 0.25), Tap(None, math.nan)]))
    assert [(one["model_version"], one["rollout"]) for one in live] == [("4", None)]
    assert (in_shadow, letters) == ([], [1])
    assert str(line_up) == "model taps version 4"


def test_without_events_nobody_is_asked_and_nothing_is_written(taps):
    server = FakeServer()
    line_up = LineUp(ab(0.5, 0.5, shadow=(3,)), [taps.seat(1, server)] * 2, [taps.shadow(3, server)], clock=lambda: 0.0)
    assert written(line_up, taps.events([])) == ([], [], [])
    assert server.calls == []
    line_up.close()


def test_one_version_in_two_arms_is_scored_as_each_of_them(taps):
    seat = taps.seat(1)
    line_up = LineUp(ab(0.5, 0.5), [seat, seat], clock=lambda: 0.0)
    live, *_ = written(line_up, taps.events([Tap(card, 0.25) for card in CARDS]))
    assert {one["rollout"]["arm"] for one in live} == {"a", "b"}
    assert {one["model_version"] for one in live} == {"1"}


def test_the_line_up_names_each_model_once_and_its_policy(taps):
    published = ab(0.5, 0.5, shadow=(1, 3))
    line_up = LineUp(published, [taps.seat(1), taps.seat(2)], [taps.shadow(1), taps.shadow(3)], clock=lambda: 0.0)
    assert [version for _, version in line_up.models] == ["1", "2", "3"]
    assert str(line_up).endswith(f"model taps version 3 under policy {published.version}")
    line_up.close()


def test_an_arm_says_how_long_it_took_and_a_candidate_that_fails_how_long_it_failed(taps):
    ticks = iter([0.0, 1.0, 5.0, 5.001, 5.005, 6.0, 6.5])
    failing = taps.seat(2, FakeServer(infers=False))
    line_up = LineUp(ab(0.5, 0.5), [taps.seat(1), failing], clock=ticks.__next__)
    live, *_ = written(line_up, taps.events([Tap(card, 0.25) for card in CARDS]))
    assert {one["rollout"]["arm"]: one["rollout"]["infer_ms"] for one in live} == {"a": 1000.0, "b": 5.0}


def test_a_candidate_that_fails_is_logged_once_and_so_is_its_end(taps, caplog):
    caplog.set_level("INFO", "scoring.lineup")
    server = FakeServer(infers=False)
    line_up = LineUp(ab(0.0, 1.0), [taps.seat(1), taps.hosted(2, server)], clock=lambda: 0.0)
    for infers in (False, False, True, True):
        server.infers = infers
        written(line_up, taps.events([Tap("card-1", 0.25)]))
    assert [record.message for record in caplog.records if record.name == "scoring.lineup"] == [
        "arm b gives no scores, the champion scores its events: Fake gives no scores, and only it has the model: "
        "StatusCode.UNAVAILABLE",
        "arm b gives scores again",
    ]


@pytest.mark.parametrize(
    ("seat", "error"),
    [("hosted", NoScoresNow), ("seat", PenstockError)],
)
def test_a_champion_without_scores_is_an_error_once_no_version_in_shadow_scores_any_more(taps, seat, error):
    ended = []

    class Slow(FakeServer):
        def infer(self, *arguments):
            time.sleep(0.05)
            ended.append(True)
            return super().infer(*arguments)

    champion = getattr(taps, seat)(1, FakeServer(infers=False))
    line_up = LineUp(ab(1.0, shadow=(2,)), [champion], [taps.shadow(2, Slow())], clock=lambda: 0.0)
    with pytest.raises(error):
        line_up.score(taps.events([Tap("card-1", 0.25)]))
    assert ended == [True]
    line_up.close()


def test_a_line_up_waits_for_its_champion_alone(taps):
    failing = FakeServer(infers=False)
    up = LineUp(ab(0.0, 1.0), [taps.hosted(1, FakeServer()), taps.hosted(2, failing)], clock=lambda: 0.0)
    down = LineUp(None, [taps.hosted(1, failing)], clock=lambda: 0.0)
    for _ in range(LEAST):
        written(up, taps.events([Tap("card-1", 0.25)]))
        with pytest.raises(NoScoresNow):
            down.score(taps.events([Tap("card-1", 0.25)]))
    assert up.arms[1].inference.waits()
    assert (up.waits(), down.waits()) == (False, True)


def test_of_a_cascade_the_champion_scores_what_the_candidates_strong_model_cannot(taps):
    """Candidate and champion are cascades: an event in the band has the strong model's score."""
    champion = taps.cascade(1, FakeServer(), FakeServer(added=4.0))
    candidate = taps.cascade(2, FakeServer(added=0.125), FakeServer(added=8.0, numberless=(0.25,)))
    line_up = LineUp(ab(0.0, 1.0), [champion, candidate], clock=lambda: 0.0)
    # In the band of both and in the candidate's alone; below the band.
    live, *_ = written(line_up, taps.events([Tap("card-1", 0.25), Tap("card-2", 0.125), Tap("card-3", 0.0)]))
    assert [(one["score"], one["model"], one["route"]) for one in live] == [
        (4.25, "strong", "fallback"),
        (8.125, "strong", "primary"),
        (0.125, "taps", "primary"),
    ]
    assert [one["cascade"]["fast_version"] for one in live] == ["1", "2", "2"]
    assert {one["rollout"]["arm"] for one in live} == {"b"}


def test_explored_events_of_a_cascade_keep_its_scores_and_have_the_permissive_decision(taps):
    champion = taps.cascade(1, FakeServer(), FakeServer(added=0.125))
    line_up = LineUp(ab(1.0, exploration=EXPLORATION), [champion], clock=lambda: 0.0)
    some = [Tap(card, 0.75, f"id-{n}") for n, card in enumerate(CARDS)]
    live, *_ = written(line_up, taps.events(some))
    explored = [one["rollout"]["explored"] for one in live]
    audited = in_slice(RULE.salt, [tap.event_id for tap in some], RULE.audit).tolist()
    assert [one["cascade"]["audited"] for one in live] == audited
    assert [one["cascade"]["strong_score"] for one in live] == [0.875 if each else None for each in audited]
    assert [one["decision"] for one in live] == ["pass" if each else "block" for each in explored]
    assert {*zip(explored, audited, strict=True)} == {(False, False), (False, True), (True, False), (True, True)}


def test_a_shadow_prediction_that_its_topic_does_not_take_is_left_out(taps):
    shadow = taps.shadow(2, max_bytes=5_000)
    line_up = LineUp(ab(1.0, shadow=(2,)), [taps.seat(1)], [shadow], clock=lambda: 0.0)
    live, in_shadow, letters = written(line_up, taps.events([Tap("card-1", 0.25, "x" * 6_000), Tap("card-1", 0.25)]))
    assert [one["features_offset"] for one in live] == [0, 1]
    assert [one["features_offset"] for one in in_shadow] == [1]
    assert letters == []
    line_up.close()


def test_an_event_whose_prediction_is_too_long_has_no_shadow_prediction(taps):
    champion = taps.seat(1, max_bytes=5_000)
    line_up = LineUp(ab(1.0, shadow=(2,)), [champion], [taps.shadow(2)], clock=lambda: 0.0)
    live, in_shadow, letters = written(line_up, taps.events([Tap("card-1", 0.25, "x" * 6_000), Tap("card-1", 0.25)]))
    assert [one["features_offset"] for one in live] == [one["features_offset"] for one in in_shadow] == [1]
    assert letters == [0]
    line_up.close()


def test_a_line_up_that_is_closed_leaves_the_versions_to_the_next(taps):
    shadow = taps.shadow(2)
    policy, events = ab(1.0, shadow=(2,)), taps.events([Tap("card-1", 0.25)])
    before = LineUp(policy, [taps.seat(1)], [shadow], clock=lambda: 0.0)
    before.score(events)
    before.close()
    with pytest.raises(RuntimeError):
        before.score(events)
    after = LineUp(policy, [taps.seat(1)], [shadow], clock=lambda: 0.0)
    assert len(after.score(events).shadows) == 1
    after.close()


# What a batch counts, and what metrics show.

EVENTS = 40
TWO_SHADOWS = ab(0.5, 0.5, shadow=(3, 4))


@pytest.fixture
def many(taps):
    """Events whose amounts are 0, 1, 2, ..."""
    return taps.events([Tap(None, float(n)) for n in range(EVENTS)])


def counts(line_up, events):
    """The counts of each part of a batch; those of shadow predictions come last."""
    return encode_batch(line_up.score(events), NOW).counts


def test_without_a_policy_predictions_have_no_arm(taps, many):
    of_all, _ = counts(LineUp(None, [taps.seat(1)], clock=lambda: 0.0), many)
    assert (of_all.arm, of_all.primary) == (None, EVENTS)


def test_each_arm_counts_its_own_predictions(taps, many):
    line_up = LineUp(TWO_SHADOWS, [taps.seat(1), taps.seat(2)], clock=lambda: 0.0)
    *arms, _ = counts(line_up, many)
    found = {each.arm: each.primary for each in arms}
    assert set(found) == {"a", "b"}
    assert sum(found.values()) == EVENTS


def test_what_the_champion_scores_for_a_candidate_is_the_candidates_fallback(taps, many):
    line_up = LineUp(TWO_SHADOWS, [taps.seat(1), taps.seat(2, FakeServer(infers=False))], clock=lambda: 0.0)
    *arms, _ = counts(line_up, many)
    found = {each.arm: (each.primary, each.fallback) for each in arms}
    assert found["b"][0] == found["a"][1] == 0
    assert found["b"][1] + found["a"][0] == EVENTS


def test_shadow_predictions_and_versions_that_give_none_are_counted_apart(taps, many):
    line_up = LineUp(
        TWO_SHADOWS,
        [taps.seat(1, FakeServer(numberless=(5.0,))), taps.seat(2, FakeServer(numberless=(5.0,)))],
        [
            taps.shadow(3, FakeServer(numberless=(5.0, 6.0))),
            *(taps.shadow(version, FakeServer(infers=False)) for version in (4, 5)),
        ],
        clock=lambda: 0.0,
    )
    *arms, of_shadows = counts(line_up, many)
    # The event without a prediction has no shadow prediction either; of another one, the version has no number.
    assert sum(each.primary + each.fallback for each in arms) == EVENTS - 1
    assert (of_shadows.arm, of_shadows.shadow, of_shadows.without_shadow) == (None, EVENTS - 2, 2)
    line_up.close()


@pytest.mark.parametrize(
    ("published", "shadows", "shown"),
    [(None, 0, set()), (TWO_SHADOWS, 0, {"a", "b"}), (TWO_SHADOWS, 1, {"a", "b", "shadow"})],
)
def test_metrics_show_the_versions_the_policy_and_the_arms(taps, published, shadows, shown):
    registry = CollectorRegistry()
    arms = [taps.seat(1), taps.seat(2)][: 1 if published is None else 2]
    in_shadow = [taps.shadow(3)] * shadows
    line_up = LineUp(published, arms, in_shadow, clock=lambda: 0.0)
    line_up.show(ScorerMetrics(registry, "taps", 100))
    samples = [sample for family in registry.collect() for sample in family.samples]
    versions = {sample.labels["version"] for sample in samples if sample.name == "penstock_scorer_model_info"}
    assert versions == {version for _, version in line_up.models}
    (policy,) = [sample.labels["policy"] for sample in samples if sample.name == "penstock_scorer_policy_info"]
    assert policy == ("none" if published is None else published.version)
    totals = [sample for sample in samples if sample.name == "penstock_scorer_arm_predictions_total"]
    assert {sample.labels["arm"] for sample in totals} == shown
    line_up.close()
