"""Records of a rollout survive JSON, and markers say which policy was effective at an offset."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from penstock.errors import PenstockError
from scoring.rollout.policy import Arm, RolloutPolicy, publish
from scoring.rollout.policy_log import Marker, PolicyChange, decode, encode
from tests.scoring.rollout.naive_log import effective

HASHES = [letter * 64 for letter in "abc"]
PUBLISHED = publish(
    RolloutPolicy(
        pipeline="fraud", mode="shadow", salt="fraud/1", arms=(Arm(name="present", version=1, role="champion"),)
    )
)
CHANGE = PolicyChange(
    policy=PUBLISHED,
    author="ada",
    reason="version 5 is to be watched",
    evidence={"losses": {"n": 9_900, "interval": [-0.1, 0.02]}},
    previous=HASHES[0],
    time_ms=1_772_323_200_000,
)
MARKER = Marker(partition=3, first_offset=17, policy=HASHES[1])

markers = st.builds(
    Marker, partition=st.integers(0, 2), first_offset=st.integers(0, 30), policy=st.sampled_from(HASHES)
)


@pytest.mark.parametrize("entry", [CHANGE, CHANGE.model_copy(update={"previous": None}), MARKER])
def test_a_record_read_back_is_the_same(entry: PolicyChange | Marker) -> None:
    again = decode(encode(entry), "rollout.fraud.log[0]@1")
    assert again == entry
    assert encode(again) == encode(entry)
    assert not isinstance(again, PolicyChange) or again.policy.hash == PUBLISHED.hash


def test_the_form_of_a_record_is_part_of_it() -> None:
    assert json.loads(encode(MARKER)) == {
        "format": 1,
        "kind": "marker",
        "partition": 3,
        "first_offset": 17,
        "policy": HASHES[1],
    }
    assert json.loads(encode(CHANGE))["format"] == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\xff", "JSON"),
        (b"[]", "object"),
        (encode(MARKER).replace(b'"format":1', b'"format":2'), "format: Input should be 1"),
        (encode(MARKER).replace(b'"marker"', b'"pause"'), "does not match any of the expected tags"),
        (encode(MARKER).replace(b'"partition":3', b'"partition":-3'), "partition: Input should be greater than"),
        (
            encode(MARKER).replace(b'"first_offset":17', b'"first_offset":1' + b"0" * 30),
            "first_offset: Input should be",
        ),
        (encode(CHANGE).replace(b'"time_ms":1', b'"time_ms":9991'), "time_ms: Input should be less than"),
        (encode(MARKER).replace(b'"partition":3,', b""), "partition: Field required"),
        (encode(MARKER).replace(b"bbb", b"xxx"), "policy: String should match pattern"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(value: bytes, message: str) -> None:
    with pytest.raises(PenstockError) as refused:
        decode(value, "rollout.fraud.log[0]@1")
    assert message in refused.value.what
    assert refused.value.where == "rollout.fraud.log[0]@1"


@pytest.mark.parametrize("field", ["author", "reason"])
def test_a_change_says_who_and_why(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        PolicyChange.model_validate(CHANGE.model_dump() | {field: ""})


def test_a_change_is_at_a_step_that_its_policy_has() -> None:
    with pytest.raises(PenstockError, match="there is no step 1: the policy has 0 steps"):
        decode(encode(CHANGE).replace(b'"step":0', b'"step":1'), "rollout.fraud[0]@1")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_evidence_that_json_cannot_hold_is_refused(number: float) -> None:
    wrong: dict[str, Any] = CHANGE.model_dump() | {"evidence": {"bound": number}}
    with pytest.raises(ValidationError, match="not JSON compliant"):
        PolicyChange.model_validate(wrong)


@given(log=st.lists(markers, max_size=12), partition=st.integers(0, 2))
def test_the_effective_policy_is_that_of_a_naive_scan(log: list[Marker], partition: int) -> None:
    policies: list[str | None] = [None] * 40
    for marker in log:
        if marker.partition == partition:
            policies[marker.first_offset :] = [marker.policy] * (40 - marker.first_offset)
    assert [effective(log, partition, offset) for offset in range(40)] == policies


@given(log=st.lists(markers, max_size=12), repeated=st.data())
def test_a_marker_that_is_written_again_changes_nothing(log: list[Marker], repeated: st.DataObject) -> None:
    ordered = sorted(log, key=lambda marker: marker.first_offset)
    twice = [copy for each in ordered for copy in [each] * repeated.draw(st.integers(1, 3))]
    for partition in range(3):
        for offset in range(40):
            assert effective(twice, partition, offset) == effective(ordered, partition, offset)


def test_after_an_abort_the_marker_that_was_written_again_holds() -> None:
    aborted = Marker(partition=0, first_offset=100, policy=HASHES[0])
    again = Marker(partition=0, first_offset=90, policy=HASHES[1])
    log = [Marker(partition=0, first_offset=10, policy=HASHES[2]), aborted, again]
    assert [effective(log, 0, offset) for offset in (9, 89, 90, 100)] == [None, HASHES[2], HASHES[1], HASHES[1]]
