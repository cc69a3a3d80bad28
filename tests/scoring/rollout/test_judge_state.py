"""What was seen is saved in small records, and read back to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.rollout.collecting import event_hashes
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.label_table import ROW
from scoring.rollout.observations import Label
from scoring.rollout.policy import publish
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from scoring.rollout.sample import hashes
from streams.definitions.rollout import Rollout
from tests.scoring.rollout.observed import change, complete, experiment, judge, letter, live, shadow, tried

SHADOW = change(0, 0.5)
MOST_BYTES = 500_000


def seen(n: int = 300) -> JudgeState:
    judging = judge(Rollout(most_entities=1_000))
    return judging.observe(
        judging.begin(SHADOW),
        live=[live(number, SHADOW) for number in range(n)],
        shadow=[shadow(number, SHADOW) for number in range(0, n, 2)],
        letters=[letter(n + 1)],
        labels=[Label(f"event-{number}", 1.0, number) for number in range(n + 50)],
        entries=[
            Marker(partition=3, first_offset=2, policy=SHADOW.policy.hash),
            Refusal(instance="a", policy=SHADOW.policy.hash, reason="no", time_ms=1),
        ],
        complete=complete(n),
    )


@pytest.mark.parametrize("n", [0, 1, 300, 3_000])
def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been(n: int) -> None:
    before = seen(n)
    after = JudgeState.load(before.records())
    assert after.records() == before.records()
    judging = judge(Rollout(most_entities=1_000))
    assert judging.begin(SHADOW, after) is after
    more = {"live": [live(number, SHADOW) for number in range(n, n + 100)], "labels": [Label("event-3", 0.0, 10**6)]}
    assert judging.observe(after, **more).records() == judging.observe(before, **more).records()
    assert judging.decide(after, SHADOW, 10**9) == judging.decide(before, SHADOW, 10**9)


def test_a_bandit_that_was_saved_still_knows_its_earlier_policies() -> None:
    first, judging = experiment("bandit"), judge()
    rows = [(tried if number % 2 else live)(number, first) for number in range(400)]
    labels = [Label(f"event-{number}", float(number % 2), number) for number in range(400)]
    before = judging.observe(judging.begin(first), live=rows, labels=labels)
    following = judging.decide(before, first, 10**9)
    assert following is not None
    after = judging.begin(following, before)
    assert after.versions == (first.policy.version, following.policy.version)
    assert JudgeState.load(after.records()).versions == after.versions


def test_the_names_are_always_the_same() -> None:
    names = {*seen(0).records()}
    assert names == {*seen(300).records()}
    assert names == {*judge().begin(experiment("bandit")).records()}
    assert len(names) < 1_000


def test_one_event_changes_few_records() -> None:
    before = seen(300)
    after = judge(Rollout(most_entities=1_000)).observe(before, live=[live(500, SHADOW)])
    changed = [name for name, record in after.records().items() if before.records()[name] != record]
    assert sorted(name.partition("/")[0] for name in changed) == ["calls", "entities", "head"]


def test_records_stay_small_in_the_largest_state() -> None:
    most = Rollout.model_json_schema()["properties"]["most_entities"]["maximum"]
    numbers = [str(number) for number in range(most)]
    of = change(0, 0.5, shadow=(3, 4, 5))
    state = JudgeState.empty(of.policy, groups=10, most=most)
    for sample in (state.calls, state.entities):
        rows = np.zeros(most, sample.rows.dtype)
        rows["slice"], rows["unit"] = hashes("test", numbers)
        full = sample.add(rows)
        assert full.halvings == (0, 0)
        assert max(map(len, full.shards())) < MOST_BYTES
    labels = np.zeros(most + state.labels.most, ROW)
    labels["event"] = event_hashes([str(number) for number in range(len(labels))])
    assert max(map(len, state.labels.add(labels).shards())) < MOST_BYTES


def test_a_policy_of_many_ranges_stays_small() -> None:
    of = experiment("bandit").policy
    rng = np.random.default_rng(1)
    for _ in range(60):
        weight = round(float(rng.uniform(0.05, 0.95)), 4)
        of = publish(of.policy, of, {"present": round(1 - weight, 4), "tried": weight})
    begun = PolicyChange(policy=of, author="a", reason="b", previous=None, time_ms=0)
    assert len(judge().begin(begun).records()["policy"]) < MOST_BYTES / 10


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda records: records.pop("calls/07"), "calls/07"),
        (lambda records: records.update(head=b'{"format": 1}'), "its format is 1, this release has 2"),
        (lambda records: records.update(policy=b"nothing"), "incorrect header"),
        (lambda records: records.update({"entities/00": b"12345"}), "multiple of element size"),
        (lambda records: records.pop("head"), "head"),
    ],
)
def test_records_that_cannot_be_read_are_refused(broken, message: str) -> None:
    records = seen(300).records()
    broken(records)
    with pytest.raises(PenstockError, match=message) as error:
        JudgeState.load(records)
    assert error.value.safe
    assert error.value.next


def test_the_head_is_json() -> None:
    head = json.loads(seen(300).records()["head"])
    assert head["versions"] == [SHADOW.policy.version]
    assert head["markers"] == {"3": 2}
    assert head["refusal"] == "scorer a: no"
