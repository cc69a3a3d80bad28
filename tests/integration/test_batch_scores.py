"""``penstock backfill score`` on a real stack: what was served is reproduced, and brought on once."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.cassandra_client import connect_cassandra
from penstock.settings import Settings
from schemas.history import record_decoder
from scoring.rollout.policy import RolloutPolicy
from tests.integration.test_rollout_scoring import (
    CANDIDATE,
    CHAMPION,
    EXPLORATION,
    ManyEntities,
    apply,
    three_versions,
)
from tests.integration.test_scoring import EAGER
from tests.scoring.scorer_bench import penstock

# Each version answers for its events, however busy the machine is.
PATIENT = (*EAGER, "--deadline-ms", "10000")
KILLS = (("before_commit", "1"), ("after_commit", "1"))


@pytest.fixture
def bench(settings: Settings, stack_environment: object, suffix: str, tmp_path: Path) -> Iterator[ManyEntities]:
    with three_versions(settings, suffix, tmp_path) as bench:
        yield bench


def halves(bench: ManyEntities) -> RolloutPolicy:
    arms = (
        CHAMPION.model_copy(update={"weight": 0.5}),
        CANDIDATE.model_copy(update={"weight": 0.5}),
    )
    return RolloutPolicy(pipeline=bench.pipeline.name, mode="ab", salt="taps/1", arms=arms, exploration=EXPLORATION)


def score(bench: ManyEntities, folder: Path, *options: str, crash: tuple[str, ...] = (), exits: int = 0) -> Any:
    predictions = bench.predictions()
    times = [one["event_time"] for one in predictions]
    span = ("--from", str(min(times)), "--to", str(max(times) + 1))
    arguments = ("backfill", "score", bench.reference, *span, "--out", str(folder), "--json", *options)
    done = penstock(*arguments, crash=crash)
    assert done.returncode == exits, (done.stdout, done.stderr)
    return json.loads(done.stdout) if exits in (0, 99) else None


def test_the_policy_that_served_flips_nothing_and_scores_are_brought_on_once(
    bench: ManyEntities, tmp_path: Path
) -> None:
    apply(bench, halves(bench))
    with bench.scoring("0", *PATIENT):
        bench.feed(600)
        bench.wait_until_drained()
    served = {one["event_id"]: one for one in bench.predictions()}
    assert {one["route"] for one in served.values()} == {"primary"}
    out, topic = tmp_path / "scores", f"scores.{bench.pipeline.name}"
    options = ("--policy", "0@1", "--into", "topic", "--topic", topic)
    for kill in KILLS:
        score(bench, out, *options, crash=kill, exits=-signal.SIGKILL)
    found = score(bench, out, *options)
    flips = found["flips"]
    assert found["rows"] == flips["all"]["compared"] + flips["forced"] == len(served)
    assert flips["forced"] > 0
    assert flips["all"]["flipped"] == flips["forced_changed"] == 0
    decoder = record_decoder("score")
    scores = [decoder.decode(message.value()) for message in bench.messages(topic)]
    assert max(Counter(one["event_id"] for one in scores).values()) == 1
    assert len(scores) == found["rows"]
    for one in scores:
        before = served[one["event_id"]]
        assert one["score"] == before["score"]
        assert (one["decision"], one["model_version"]) == (before["decision"], before["model_version"])
        assert (one["arm"], one["explored"]) == (before["rollout"]["arm"], before["rollout"]["explored"])
    score(bench, out, *options, exits=99)

    cluster = connect_cassandra(bench.settings.cassandra)
    try:
        session, keyspace = cluster.connect(), Settings().cassandra.keyspace
        session.execute(
            f"CREATE KEYSPACE \"{keyspace}\" WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        )
        assert score(bench, out, *options[:2], "--into", "cassandra")["delivered_rows"] == found["rows"]
        score(bench, out, *options[:2], "--into", "cassandra", exits=99)
        rows = list(session.execute(f'SELECT * FROM "{keyspace}"."scores_{bench.pipeline.name}"'))
    finally:
        cluster.shutdown()
    assert {(row.event_id, row.score, row.decision) for row in rows} == {
        (one["event_id"], one["score"], one["decision"]) for one in scores
    }
