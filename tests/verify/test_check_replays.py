"""Replays of dead letters: those that are true to their letter pass, all others are found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.kafka.reading import Record
from schemas.dead_letters import REPLAY_COUNT, REPLAY_OF, DeadLetter
from tests.verify.test_check_predictions import PLAN, world
from verify.check_replays import ReplayFindings, check_replays
from verify.published import Published
from verify.replays import Replayed
from verify.run_data import RunData

RAW, FEATURES, PREDICTIONS = PLAN.source.topic, PLAN.features_topic, "predictions.p"
REFUSED = DeadLetter(
    topic=RAW,
    partition=0,
    offset=4,
    pipeline="p",
    stage="validate",
    component="penstock.job",
    reason="penstock.InvalidField",
    message="why",
    key=b"k",
    value=b"v",
    original_headers=(("app", b"1"),),
)
UNSCORED = replace(
    REFUSED, topic=FEATURES, offset=101, stage="score", component="penstock.scorer", reason="penstock.NotANumber"
)
EXCERPT = replace(REFUSED, stage="encode", reason="penstock.FeaturesTooLarge")


def kept(letter: DeadLetter, offset: int = 0) -> Record:
    return Record(0, offset, 0, letter.key, letter.value, tuple(letter.headers()))


FORGED = replace(
    REFUSED, original_headers=((REPLAY_OF, f"{RAW}.dlq[0]@8".encode()), (REPLAY_COUNT, b"2"), ("app", b"1"))
)
# The job refused again what was put back; its letters may be in any partition.
TWICE = replace(REFUSED.replayed(f"{RAW}.dlq[0]@0", 1), offset=9)
KEPT_AGAIN = REFUSED.replayed(f"{RAW}.dlq[0]@0", 1)


def put_back(letter: DeadLetter, place: str = f"{RAW}.dlq[0]@0", count: int = 1, **changes: Any) -> Record:
    copy = letter.replayed(place, count)
    return replace(Record(0, 9, 0, copy.key, copy.value, tuple(copy.original_headers)), **changes)


def prediction(of: str, count: int = 1, **value: Any) -> Published:
    _, _, (first, *_) = world(3)
    place = {"features_topic": FEATURES, "features_partition": 0, "features_offset": 101}
    return replace(first, value={**first.value, **place, **value}, replayed=Replayed(of, count))


def check(**changes: Any) -> ReplayFindings:
    of_run = {"sources": ((),), "dead_letters": ((kept(REFUSED),),), "features": (), "predictions": ()}
    return check_replays(PLAN, f"{PREDICTIONS}.dlq", RunData(**(of_run | changes)))


AGAIN = UNSCORED.replayed(f"{PREDICTIONS}.dlq[0]@0", 1)


@pytest.mark.parametrize(
    ("run", "replayed"),
    [
        ({"sources": ((put_back(REFUSED),),)}, f"{RAW}.dlq[0]@0"),
        (
            {"unscored": (kept(UNSCORED),), "predictions": (prediction(f"{PREDICTIONS}.dlq[0]@0"),)},
            f"{PREDICTIONS}.dlq[0]@0",
        ),
        ({"unscored": (kept(UNSCORED), kept(AGAIN, 1))}, f"{PREDICTIONS}.dlq[0]@0"),
        (
            {
                "dead_letters": ((kept(REFUSED), replace(kept(TWICE), partition=1)),),
                "sources": ((put_back(TWICE, f"{RAW}.dlq[1]@0", count=2),),),
            },
            f"{RAW}.dlq[1]@0",
        ),
        ({"dead_letters": ((kept(FORGED),),), "sources": ((put_back(FORGED),),)}, f"{RAW}.dlq[0]@0"),
        ({"dead_letters": ((kept(REFUSED), kept(KEPT_AGAIN, 1)),)}, f"{RAW}.dlq[0]@0"),
        (
            {
                "unpublished": (kept(EXCERPT, 3),),
                "predictions": (
                    prediction(f"{FEATURES}.dlq[0]@3", features_topic=f"{FEATURES}.dlq", features_offset=3),
                ),
            },
            f"{FEATURES}.dlq[0]@3",
        ),
        (
            {
                "dead_letters": ((kept(replace(REFUSED, value=b"x" * 20_000).excerpt()),),),
                "sources": ((put_back(replace(REFUSED, value=b"x" * 20_000)),),),
            },
            f"{RAW}.dlq[0]@0",
        ),
    ],
)
def test_what_a_replay_writes_passes(run: dict[str, Any], replayed: str) -> None:
    findings = check(**run)
    assert (findings.examples, findings.replayed) == ([], {replayed})


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"sources": ((put_back(REFUSED), put_back(REFUSED)),)}, "which was replayed before"),
        ({"sources": ((put_back(REFUSED, value=b"w"),),)}, "is not of the record"),
        ({"sources": ((put_back(REFUSED, key=b"j"),),)}, "is not of the record"),
        ({"sources": ((put_back(REFUSED, partition=1),),)}, "is not of the record"),
        ({"sources": ((put_back(replace(REFUSED, original_headers=())),),)}, "is not of the record"),
        ({"sources": ((put_back(REFUSED, f"{RAW}.dlq[0]@7"),),)}, "which is no dead letter"),
        ({"sources": ((put_back(REFUSED, "nonsense"),),)}, "which is no dead letter"),
        (
            {"dead_letters": ((kept(REFUSED), kept(KEPT_AGAIN, 1)),), "sources": ((put_back(REFUSED),),)},
            "which was replayed before",
        ),
        (
            {
                "sources": (
                    (put_back(REFUSED, headers=((REPLAY_OF, f"{RAW}.dlq[0]@0".encode()), (REPLAY_COUNT, b"2"))),),
                )
            },
            "says that it is replay 2",
        ),
        (
            {
                "sources": (
                    (
                        put_back(
                            REFUSED, headers=((REPLAY_OF, f"{RAW}.dlq[0]@0".encode()), (REPLAY_COUNT, b"9" * 5_000))
                        ),
                    ),
                )
            },
            "says that it is replay -1",
        ),
        (
            {
                "unscored": (kept(UNSCORED),),
                "predictions": (prediction(f"{PREDICTIONS}.dlq[0]@0", features_offset=102),),
            },
            "is not of the record",
        ),
        (
            {
                "unscored": (kept(UNSCORED), kept(AGAIN, 1)),
                "predictions": (prediction(f"{PREDICTIONS}.dlq[0]@0"),),
            },
            "which was replayed before",
        ),
        (
            {"unscored": (kept(UNSCORED), kept(AGAIN, 1)), "predictions": (prediction(f"{PREDICTIONS}.dlq[0]@1"),)},
            "says that it is replay 1",
        ),
        ({"unscored": (kept(UNSCORED), kept(replace(AGAIN, offset=102), 1))}, "is not of the record"),
    ],
)
def test_what_no_replay_wrote_is_found(run: dict[str, Any], says: str) -> None:
    findings = check(**run)
    assert findings.mismatches == 1
    assert says in findings.examples[0]


def test_a_replay_whose_letter_retention_deleted_is_not_checked() -> None:
    later = {"dead_letters": ((kept(REFUSED, 5),),)}
    assert check(sources=((put_back(REFUSED),),), **later).mismatches == 0
    assert check(sources=((put_back(REFUSED),),), dead_letters=((),)).mismatches == 0
