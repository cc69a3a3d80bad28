"""Events of several topics are scored: payments, refunds, and payments of an app in a topic of their own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backfill.parity.check import UNREADABLE, Parity
from backfill.parity.recomputation import EVENT_GONE
from backfill.parity.report import place_text
from backfill.parity.values import Cause
from schemas.dead_letters import DeadLetter
from streams.flink.submission import Offsets
from tests.backfill.parity.test_check import OneTerminal, causes, payments
from tests.backfill.parity.test_rows import rows_of
from tests.backfill.parity.worlds import APP, SCORED_REFUNDS, Sent, World, letter, pipeline, predictions_of, run

TOPICS = ["events.parity", "events.parity.refunds", "events.parity.app"]
IDS = ["e20", "parity_refund:e20", "a20"]
"""An event of each topic."""


def _sent() -> list[Sent]:
    """After each fourth payment its refund, with the payment's id, and one of the same card by the app."""
    found = []
    for number, one in enumerate(payments()):
        found.append(replace(one, minute=number * 0.8))
        if number % 4 == 0:
            refund = Sent(one.id, number * 0.8 + 0.1, one.card, None, 3.0, one.partition, source=1, is_refund=True)
            found += [refund, Sent(f"a{number}", number * 0.8 + 0.2, one.card, "t1", 7.0, one.partition, source=2)]
    return found


SENT = _sent()


def world_of(taken: Sequence[Sent], folder: Path, raw: Sequence[Sent] | None = None) -> World:
    partitions = None if raw is None else {n: [one for one in raw if one.partition == n] for n in range(2)}
    return run(taken, folder, definition=pipeline((SCORED_REFUNDS, APP)), raw=partitions)


def roots(parity: Parity, cause: Cause) -> list[str]:
    return sorted({place_text(root.first.place, TOPICS) for root in parity.findings.roots.get(cause, ())})


def place_of(world: World, id_: str) -> str:
    source = world.feature(id_)["source"]
    return f"{source['topic']}[{source['partition']}]@{source['offset']}"


def test_what_was_served_in_the_order_of_a_replay_does_not_differ(tmp_path: Path) -> None:
    parity = world_of(SENT, tmp_path).check()
    assert causes(parity) == {}
    assert (parity.events, parity.findings.not_compared) == (40 + 10 + 10, {})
    assert parity.findings.compared["features", "spend@1"] == 60 * (3 + 3 + 1)


def test_events_of_two_topics_of_one_contract_are_compared(tmp_path: Path) -> None:
    taken = [replace(one, source=1) if one.source else one for one in SENT if not one.is_refund]
    world = run(taken, tmp_path, definition=pipeline((APP,)))
    assert causes(world.check()) == {}
    part = world.feature("a20")["spend"]
    part["count_10m"] += 1
    world.predictions = predictions_of(world.project, world.features)
    assert list(causes(world.check())) == ["unexplained"]


def _ulp(world: World, id_: str) -> None:
    part = world.feature(id_)["spend"]
    part["log_amount_mean_1h"] = math.nextafter(part["log_amount_mean_1h"], math.inf)
    world.predictions = predictions_of(world.project, world.features)


def _no_record(world: World, id_: str) -> None:
    world.features.remove(world.feature(id_))
    world.predictions = predictions_of(world.project, world.features)


def _no_prediction(world: World, id_: str) -> None:
    world.predictions.remove(world.prediction(id_))


def _of_another_event(world: World, id_: str) -> None:
    world.prediction(id_)["vector"] = world.prediction("e39")["vector"]


@pytest.mark.parametrize("change", [_ulp, _no_record, _no_prediction, _of_another_event])
@pytest.mark.parametrize("id_", IDS)
def test_what_is_wrong_in_any_topic_is_found_at_its_event(
    change: Callable[[World, str], None], id_: str, tmp_path: Path
) -> None:
    world = world_of(SENT, tmp_path)
    where = place_of(world, id_)
    change(world, id_)
    parity = world.check()
    assert list(causes(parity)) == ["unexplained"]
    assert roots(parity, Cause.UNEXPLAINED) == [where]


@pytest.mark.parametrize("source", [1, 2])
def test_another_order_of_the_topics_is_an_interleaving(source: int, tmp_path: Path) -> None:
    taken = sorted(SENT, key=lambda one: one.minute + 5 * (one.source == source))
    assert list(causes(world_of(taken, tmp_path, SENT).check())) == ["interleaving"]


@pytest.mark.parametrize("topic", TOPICS)
def test_events_that_the_job_has_not_taken_of_a_topic_are_in_flight(topic: str, tmp_path: Path) -> None:
    """The other topics' events of the same offsets have been taken."""
    number = TOPICS.index(topic)
    waiting = [one for one in SENT if one.source == number][-3:]
    world = world_of([one for one in SENT if one not in waiting], tmp_path, SENT)
    assert "unexplained" in causes(world.check())
    firsts = {n: [one for one in SENT if (one.source, one.partition) == (number, n)] for n in range(2)}
    world.taken = {topic: {n: len([one for one in of if one not in waiting]) for n, of in firsts.items()}}
    parity = world.check()
    assert list(causes(parity)) == ["in flight"]
    assert len(roots(parity, Cause.IN_FLIGHT)) == 3


@pytest.mark.parametrize("id_", IDS)
def test_an_event_that_was_given_up_is_known_by_its_topic(id_: str, tmp_path: Path) -> None:
    world = world_of(SENT, tmp_path)
    source = world.feature(id_)["source"]
    at, topic, features = place_of(world, id_), source["topic"], world.project.plan.features_topic
    headers = [(f"penstock.source.{name}", str(source[name]).encode()) for name in source]
    score = DeadLetter(features, 0, 7, "parity", "score", "penstock.scorer", "r", "m", None, None, headers)
    world.letters["predictions.parity.dlq"] = [score]
    _no_prediction(world, id_)
    parity = world.check()
    assert (causes(parity), roots(parity, Cause.MISSING)) == ({"missing vector": 1}, [at])
    _no_record(world, id_)
    event = next(one for one in world.raw[source["partition"]] if one.source == TOPICS.index(topic))
    too_long = letter(event, source["offset"], topic, "penstock.job", "penstock.FeaturesTooLarge")
    world.letters["features.parity.dlq"] = [too_long]
    parity = world.check()
    assert (causes(parity), roots(parity, Cause.MISSING)) == ({"missing vector": 1}, [at])


@pytest.mark.parametrize("first", [0, 2])
def test_a_copy_in_another_topic_of_the_contract_counts_for_nothing_whichever_came_first(
    first: int, tmp_path: Path
) -> None:
    """The record says which of them the job took, whatever the Kafka timestamps."""
    every = [*SENT, Sent("twice", 40, "c1", "t1", 5.0, 1, 40, first)]
    copied = Sent("twice", 40, "c1", "t1", 5.0, 1, 39.9, 2 - first)
    world = world_of(every, tmp_path, [*every, copied])
    parity = world.check()
    assert causes(parity) == {}
    again = copy.deepcopy(world.feature("twice"))
    again["source"] |= {"topic": TOPICS[copied.source]}
    again["source"]["offset"] = len([o for o in world.raw[1] if o.source == copied.source]) - 1
    world.features.append(again)
    world.predictions = predictions_of(world.project, world.features)
    assert "features of a duplicate" in {tally.name for tally in world.check().findings.differing}


def test_a_copy_in_another_topic_that_names_another_entity_is_known_though_the_sample_lacks_the_first(
    tmp_path: Path,
) -> None:
    both = [Sent("same", 1, "c0", "t1", 5.0), Sent("same", 2, "c0", "t2", 7.0, source=2)]
    later = [Sent(f"e{n}", 3.0 + n, "c0", "t2", 1.0, source=n % 2 * 2) for n in range(4)]
    parity = world_of([*both, *later], tmp_path).check(sample=OneTerminal())
    assert (causes(parity), parity.events) == ({}, 4)


def test_a_record_of_a_topic_that_is_not_scored_is_counted_and_its_event_has_none(tmp_path: Path) -> None:
    world = world_of(SENT, tmp_path)
    for record in (world.feature("e20"), world.prediction("a20")):
        record["source"] = record["source"] | {"topic": "events.elsewhere"}
    parity = world.check()
    assert parity.findings.not_compared[UNREADABLE] == 2
    assert causes(parity) == {"unexplained": 2}


@pytest.mark.parametrize("change", ["", "value", "lost row", "not replayed"])
def test_rows_of_a_backfill_are_compared_by_their_topic(change: str, tmp_path: Path) -> None:
    world = world_of(sorted(SENT, key=lambda one: one.minute + 5 * (one.source == 1)), tmp_path / "s", SENT)
    records = copy.deepcopy(world_of(SENT, tmp_path / "s").features)
    lengths = [{n: len([o for o in of if o.source == s]) for n, of in world.raw.items()} for s in range(3)]
    changed = next(record for record in records if record["event_id"] == "a36")
    if change == "value":
        changed["spend"]["amount_sum_10m"] += 1
    elif change:
        records.remove(changed)
    if change == "not replayed":
        lengths[2][changed["source"]["partition"]] -= 1
    others = tuple(Offsets(start=dict.fromkeys(of, 0), end=of) for of in lengths[1:])
    rows = rows_of(world, records, tmp_path / "rows", ends=lengths[0], others=others)
    parity = world.check(rows=rows)
    assert parity.findings.not_compared == ({EVENT_GONE: 1} if change == "not replayed" else {})
    if change != "not replayed":
        assert set(causes(parity)) == {"interleaving", *(["unexplained"] if change else [])}


def test_an_id_that_could_be_one_of_another_contract_is_refused_and_counts_for_nothing(tmp_path: Path) -> None:
    parity = world_of([*SENT, Sent("parity_refund:e20", 41, "c1", "t1", 5.0, 1)], tmp_path).check()
    assert (causes(parity), parity.events) == ({}, len(SENT))
