"""Every cause is produced on purpose and found, and nothing else; every wrong value that a job could serve is found."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock as ps
from backfill.parity.check import UNREADABLE, Parity, check_parity
from backfill.parity.features import NOT_WARM
from backfill.parity.predictions import PREDICTION_GONE
from backfill.parity.recomputation import EVENT_GONE, RECORD_GONE
from backfill.parity.sample import Chosen, Sample
from backfill.parity.sources import Range
from backfill.parity.values import Cause
from penstock.kafka.reading import Record
from schemas.avro import fingerprint
from schemas.committed import record_file
from schemas.dead_letters import DeadLetter
from streams.inprocess.features_of import shared_kernel
from streams.plan.feature_records import features_schema
from streams.plan.project import Project
from tests.backfill.parity.worlds import (
    NOON,
    REFUNDS,
    RISK,
    SPEND,
    VISITS,
    Sent,
    World,
    letter,
    pipeline,
    predictions_of,
    records_of,
    run,
)


def payments(count: int = 40, seed: int = 1) -> list[Sent]:
    """Payments by five cards, each in one partition, at two terminals, whose events are in both."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        card = chance.randrange(5)
        terminal = chance.choice(["t1", "t2", None])
        late = chance.choice([0, 0, 0, 2, 30])
        amount = round(chance.uniform(1, 90), 2)
        found.append(Sent(f"e{number}", number * 0.8 - late, f"c{card}", terminal, amount, card % 2, number * 0.8))
    return found


def interleaved(sent: Sequence[Sent], behind: float = 3.0) -> list[Sent]:
    """The same events as a job takes them that reads partition 1 some minutes late."""
    return sorted(sent, key=lambda s: (s.at or 0) + behind * s.partition)


def causes(parity: Parity) -> dict[str, int]:
    """The causes that were found, and how many values each has."""
    return {cause.value: count for cause, count in parity.findings.by_cause().items() if count}


def test_what_was_served_in_the_order_of_a_replay_does_not_differ(tmp_path: Path) -> None:
    parity = run(payments(), tmp_path).check()
    assert causes(parity) == {}
    assert (parity.events, parity.entities, parity.findings.not_compared) == (40, 5 + 2 + 9, {})
    compared = parity.findings.compared
    assert compared["features", "spend@1"] == 40 * (3 + 3 + 1), "entity, as_of, late; features"
    assert compared["vector", "spend@1"] == 40 * (2 + 1), "inputs, and the vector that is named"
    assert {view for _, view in compared} == {"spend@1", "risk@1", "visits@1", "event", ""}


# --- causes


def _another_order(folder: Path) -> World:
    return run(interleaved(payments()), folder)


def _nothing_served_yet(folder: Path) -> World:
    world = run(interleaved(payments()[:30], 0), folder)
    for sent in payments()[30:]:
        world.raw[sent.partition].append(sent)
    world.taken = {"events.parity": {n: len([s for s in payments()[:30] if s.partition == n]) for n in range(2)}}
    return world


def _in_flight_before_what_was_served(folder: Path) -> World:
    """Partition 1 is behind: what is recomputed must not have its event either."""
    sent = [Sent("a", 0, "c0", "t1", 1.0), Sent("b", 1, "c1", "t1", 2.0, 1), Sent("c", 2, "c0", "t1", 4.0)]
    raw = {0: [sent[0], sent[2]], 1: [sent[1]]}
    return replace(run([sent[0], sent[2]], folder, raw=raw), taken={"events.parity": {0: 2, 1: 0}})


def _not_scored_yet(folder: Path) -> World:
    world = run(payments(), folder)
    removed = [world.predictions.pop() for _ in range(3)]
    of_partition = [p["features_offset"] for p in removed if p["features_partition"] == 0]
    of_other = [p["features_offset"] for p in removed if p["features_partition"] == 1]
    world.scored = {0: min(of_partition, default=99), 1: min(of_other, default=99)}
    return world


def _late_in_one_order(folder: Path) -> World:
    """An event at which partition 1 is two hours behind is too late for every window, in the job's order only."""
    early = Sent("a", 0, "c1", "t1", 5.0, 1)
    later = Sent("b", 120, "c0", "t1", 7.0, 0)
    return run([later, early], folder)


def _behind_the_watermark(folder: Path) -> World:
    """In event-time order an event counts at its time; one that is later than the disorder counts when it comes."""
    sent = [Sent("a", 0, "c0", "t1", 1.0), Sent("b", 5, "c0", "t1", 2.0), Sent("c", 1, "c0", "t1", 4.0, at=5.1)]
    return run(sent, folder, definition=pipeline(order="event_time"))


def _earlier_view(folder: Path) -> World:
    """All records are of a definition that had another version of a view."""
    return _with_earlier_schema(run(payments(), folder), folder)


def _with_earlier_schema(world: World, folder: Path) -> World:
    earlier = pipeline().model_copy(update={"views": (SPEND, RISK.model_copy(update={"version": 2}), VISITS)})
    world.schema = features_schema(Project.of(earlier, folder).plan)
    file = record_file(world.project.plan.features_topic, fingerprint(world.schema).hex(), folder)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(world.schema))
    return world


def _failed_and_went_on(folder: Path) -> World:
    """The job failed after thirty events, went on from a checkpoint after ten, and met them in another order."""
    sent, before = payments(), interleaved(payments())[:30]
    raw = {n: [s for s in sent if s.partition == n] for n in range(2)}
    before = [next(one for one in sent if one == taken) for taken in before]
    kept = before[:10]
    rest = interleaved([one for one in sent if one not in kept], behind=-4)
    world = run(before, folder, raw=raw)
    world.features += records_of(world.project, [*kept, *rest], raw, attempt=2)[10:]
    return replace(world, predictions=predictions_of(world.project, world.features))


def _given_up(folder: Path) -> World:
    world = run(payments(), folder)
    of = world.predictions.pop(7)
    headers = [(f"penstock.source.{name}", str(of["source"][name]).encode()) for name in of["source"]]
    given_up = DeadLetter("features.parity", 0, 7, "parity", "score", "penstock.scorer", "r", "m", None, None, headers)
    world.letters[world.project.pipeline.predictions_topic + ".dlq"] = [given_up]
    return world


def _view_began_empty(folder: Path, epoch: int = 1) -> World:
    """An upgrade has added a view: it begins empty, the other one goes on."""
    sent = payments()
    world = run(sent[:20], folder)
    for one in sent[20:]:
        world.raw[one.partition].append(one)
    both = records_of(world.project, sent, world.raw, attempt=2)[20:]
    empty = records_of(world.project, sent[20:], world.raw, attempt=2, epoch=epoch)
    world.features += [one | {"risk": other["risk"]} for one, other in zip(both, empty, strict=True)]
    world.predictions = predictions_of(world.project, world.features)
    world = replace(_with_earlier_schema(world, folder), schema_attempts=frozenset({1}))
    for prediction in world.predictions:
        if prediction["attempt"] == 1:
            prediction["model"] = "m0"
    return world


def _view_began_in_another_epoch(folder: Path) -> World:
    return _view_began_empty(folder, epoch=2)


def _earlier_model(folder: Path) -> World:
    world = run(payments(), folder)
    for prediction in world.predictions:
        prediction["model"] = "m0"
    return world


def _began_without_state(folder: Path) -> World:
    sent = payments()
    world = run(sent[:20], folder)
    for one in sent[20:]:
        world.raw[one.partition].append(one)
    world.features += records_of(world.project, sent[20:], world.raw, epoch=2, attempt=2)
    world.predictions = predictions_of(world.project, world.features)
    return world


def _too_long(folder: Path) -> World:
    world = run(payments(), folder)
    lost = _without(world, "e7")
    topic = world.project.plan.source.topic
    world.letters[world.project.plan.features_topic + ".dlq"] = [
        replace(letter(lost, world.raw[lost.partition].index(lost), topic, "penstock.job", "penstock.FeaturesTooLarge"))
    ]
    return world


def _without(world: World, id_: str) -> Sent:
    """Remove the feature record of an event, as if it had never been published."""
    world.features = [record for record in world.features if record["event_id"] != id_]
    world.predictions = predictions_of(world.project, world.features)
    return next(s for of in world.raw.values() for s in of if s.id == id_)


def _with_refunds(behind: float) -> list[Sent]:
    """Payments, and a refund after each fourth; the job is some minutes late with the refunds."""
    found = []
    for number, sent in enumerate(payments()):
        found.append(replace(sent, minute=number * 0.8))
        if number % 4 == 0:
            at = number * 0.8 + 0.1
            found.append(Sent(f"r{number}", at, sent.card, None, 3.0, sent.partition, source=1, is_refund=True))
    return sorted(found, key=lambda s: s.minute + behind * s.source)


def _updates_in_another_order(folder: Path) -> World:
    return run(_with_refunds(5), folder, definition=pipeline((REFUNDS,)))


def test_records_of_timers_are_left_out(tmp_path: Path) -> None:
    world = run(payments(), tmp_path)
    timer = copy.deepcopy(world.features[0]) | {"trigger": "timer", "event_id": "", "risk": None}
    timer["spend"]["amount_sum_10m"] = None
    world.features.insert(0, timer)
    assert causes(world.check()) == {}


def test_events_of_another_source_update_what_is_recomputed(tmp_path: Path) -> None:
    world = run(_with_refunds(0), tmp_path, definition=pipeline((REFUNDS,)))
    assert causes(world.check()) == {}


class OneTerminal(Sample):
    """Compares one terminal only."""

    def chosen(self) -> Chosen:
        return lambda kind, entity: (kind, entity) == ("terminal", "t2")


def test_a_copy_that_names_another_entity_is_known_although_the_sample_has_not_what_it_repeats(tmp_path: Path) -> None:
    sent = [Sent("same", 1, "c0", "t1", 5.0), Sent("same", 2, "c0", "t2", 7.0)]
    world = run([*sent, *(Sent(f"e{n}", 3.0 + n, "c0", "t2", 1.0) for n in range(4))], tmp_path)
    parity = world.check(sample=OneTerminal())
    assert (causes(parity), parity.events) == ({}, 4)


def test_a_served_event_is_no_copy_if_only_other_entities_tell_how_late_it_is(tmp_path: Path) -> None:
    """The card has paid elsewhere two hours later, which is more than the horizon: so the job took it."""
    sent = [
        Sent("same", 0, "c0", "t2", 5.0),
        Sent("e1", 120, "c0", "t1", 1.0),
        Sent("same", 1, "c0", "t2", 7.0, at=121),
    ]
    parity = run(sent, tmp_path).check(sample=OneTerminal())
    assert (causes(parity), parity.events) == ({}, 2)


def test_a_replay_takes_a_record_by_the_newest_timestamp_before_it(tmp_path: Path) -> None:
    first, behind = Sent("a", 10, "c0", "t1", 1.0), Sent("b", 5, "c0", "t1", 2.0)
    assert causes(run([Sent("c", 7, "c1", "t1", 4.0, 1), first, behind], tmp_path).check()) == {}


def test_an_update_that_the_job_lost_is_found_when_it_has_taken_a_later_one(tmp_path: Path) -> None:
    """Until then it may still come."""
    card = {"card": "c0", "terminal": None, "amount": 2.0}
    sent = [Sent(f"e{n}", n, source=n % 2, is_refund=n % 2 == 1, **card) for n in range(5)]
    world = run(
        [one for one in sent if one.id != "e1"], tmp_path, definition=pipeline((REFUNDS,)), raw={0: sent, 1: []}
    )
    roots = world.check().findings.roots
    assert [root.first.place.offset for root in roots[Cause.INTERLEAVING]] == [1]
    assert [root.first.place.offset for root in roots[Cause.UNEXPLAINED]] == [2]


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (_another_order, Cause.INTERLEAVING),
        (_updates_in_another_order, Cause.INTERLEAVING),
        (_nothing_served_yet, Cause.IN_FLIGHT),
        (_in_flight_before_what_was_served, Cause.IN_FLIGHT),
        (_not_scored_yet, Cause.IN_FLIGHT),
        (_late_in_one_order, Cause.LATE),
        (_behind_the_watermark, Cause.LATE),
        (_earlier_view, Cause.VERSION),
        (_view_began_empty, Cause.VERSION),
        (_view_began_in_another_epoch, Cause.VERSION),
        (_earlier_model, Cause.VERSION),
        (_began_without_state, Cause.VERSION),
        (_failed_and_went_on, Cause.INTERLEAVING),
        (_too_long, Cause.MISSING),
        (_given_up, Cause.MISSING),
    ],
)
def test_each_cause_is_found_and_no_other(make: Callable[[Path], World], cause: Cause, tmp_path: Path) -> None:
    assert list(causes(make(tmp_path).check())) == [cause.value]


# --- wrong values: what a defect would leave


def _ulp(value: float) -> float:
    return math.nextafter(value, math.inf)


def _edit(id_: str, view: str, name: str, change: Callable[[Any], Any]) -> Callable[[World], None]:
    def edit(world: World) -> None:
        part = world.feature(id_)[view]
        part[name] = change(part[name])
        world.predictions = predictions_of(world.project, world.features)

    return edit


def _vector_ulp(world: World) -> None:
    vector = np.frombuffer(world.prediction("e9")["vector"], "<f4").copy()
    vector[0] = np.nextafter(vector[0], np.float32(np.inf))
    world.prediction("e9")["vector"] = vector.tobytes()


def _vector_nan(world: World) -> None:
    vector = np.frombuffer(world.prediction("e9")["vector"], "<f4").copy()
    vector[2] = np.nan
    world.prediction("e9")["vector"] = vector.tobytes()


def _another_view_named(world: World) -> None:
    world.prediction("e9")["views"][0]["view"] = "spend@7"


def _drop_prediction(world: World) -> None:
    del world.predictions[9]


def _swap_values(world: World) -> None:
    """Two records of a card have each other's values."""
    one, other = (r for r in world.features if r["spend"]["entity"] == "c1" and r["spend"]["seq"] in (3, 4))
    one["spend"], other["spend"] = other["spend"], one["spend"]
    world.predictions = predictions_of(world.project, world.features)


def _null_view(world: World) -> None:
    next(record for record in world.features if record["risk"] is not None)["spend"] = None


def _other_entity(world: World) -> None:
    world.feature("e9")["spend"]["entity"] = "c9"


def _entity_of_none(world: World) -> None:
    """A record has a vector of an entity that its event does not name."""
    one = next(record for record in world.features if record["risk"] is None)
    one["risk"] = next(record["risk"] for record in world.features if record["risk"] is not None)
    world.predictions = predictions_of(world.project, world.features)


def _record_of_no_event(world: World) -> None:
    record = copy.deepcopy(world.feature("e39"))
    world.raw[record["source"]["partition"]].append(Sent("bad", 40, "c0", None, float("nan"), 0))
    record["source"]["offset"] = len(world.raw[record["source"]["partition"]]) - 1
    world.features.append(record)
    world.predictions = predictions_of(world.project, world.features)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_edit("e20", "spend", "amount_sum_10m", _ulp), "spend@1"),
        (_edit("e20", "spend", "count_10m", lambda n: n + 1), "spend@1"),
        (_edit("e20", "spend", "share", lambda x: x * (1 + 1e-9)), "spend@1"),
        (_edit("e20", "spend", "late", lambda late: not late), "spend@1"),
        (_edit("e20", "spend", "as_of", lambda ms: ms + 1), "spend@1"),
        (_edit("e20", "spend", "log_amount_mean_1h", lambda _: None), "spend@1"),
        (_edit("e20", "event", "amount", _ulp), "event"),
        (_edit("e20", "event", "log_amount", lambda x: x * (1 + 1e-9)), "event"),
        (_vector_ulp, "event"),
        (_vector_nan, "spend@1"),
        (_another_view_named, "spend@1"),
        (_drop_prediction, ""),
        (lambda world: _without(world, "e20"), ""),
        (_swap_values, "spend@1"),
        (_null_view, "spend@1"),
        (_other_entity, "spend@1"),
        (_entity_of_none, ""),
        (_record_of_no_event, ""),
    ],
)
def test_every_wrong_value_is_found_and_unexplained(
    change: Callable[[World], object], where: str, tmp_path: Path
) -> None:
    world = run(payments(), tmp_path)
    change(world)
    parity = world.check()
    assert list(causes(parity)) == ["unexplained"]
    assert where in {tally.view for tally in parity.findings.differing}


def _swapped_in_a_lane(folder: Path) -> World:
    """The job took two events of a card in the wrong order."""
    sent = payments()
    card = [one for one in sent if one.card == "c1"]
    first, second = sent.index(card[2]), sent.index(card[3])
    taken = list(sent)
    taken[first], taken[second] = taken[second], taken[first]
    return run(taken, folder, raw={n: [s for s in sent if s.partition == n] for n in range(2)})


def _forgot_its_state(folder: Path) -> World:
    """The job began again with empty windows, in the same epoch."""
    world = _began_without_state(folder)
    for record in world.features:
        for view in ("spend", "risk"):
            if record[view] is not None:
                record[view]["epoch"] = 1
    return world


def _counted_a_copy(folder: Path) -> World:
    sent = payments()
    copied = replace(sent[10], id="copy", at=sent[11].at)
    world = run([*sent[:12], copied, *sent[12:]], folder)
    world.feature("copy")["event_id"] = sent[10].id
    of_partition = world.raw[copied.partition]
    of_partition[of_partition.index(copied)] = replace(copied, id=sent[10].id)
    return world


def _lost_an_event(folder: Path) -> World:
    """An event is in no window and has no record."""
    sent = payments()
    return run([*sent[:10], *sent[11:]], folder, raw={n: [s for s in sent if s.partition == n] for n in range(2)})


@pytest.mark.parametrize("make", [_swapped_in_a_lane, _forgot_its_state, _counted_a_copy, _lost_an_event])
def test_a_job_that_took_its_events_wrongly_is_found(make: Callable[[Path], World], tmp_path: Path) -> None:
    assert make(tmp_path).check().unexplained > 0


def test_an_ulp_within_an_interleaving_is_unexplained_and_the_interleaving_explained(tmp_path: Path) -> None:
    world = _another_order(tmp_path)
    explained = world.check().findings.by_cause()
    _edit("e20", "spend", "amount_sum_10m", _ulp)(world)
    found = world.check().findings.by_cause()
    assert found[Cause.UNEXPLAINED] == 1
    assert found[Cause.INTERLEAVING] == explained[Cause.INTERLEAVING]


# --- roots and followers


def test_the_first_event_that_differs_explains_the_later_ones_until_values_agree_again(tmp_path: Path) -> None:
    world = run([Sent(f"e{n}", n, "c0", None, 1.0 + n) for n in range(8)], tmp_path)
    for number in (2, 3, 4, 6):
        _edit(f"e{number}", "spend", "amount_sum_10m", _ulp)(world)
    _edit("e3", "spend", "log_amount_mean_1h", _ulp)(world)
    roots = world.check().findings.roots[Cause.UNEXPLAINED]
    assert [(root.first.place.offset, root.names, root.followers) for root in roots] == [
        (2, ["amount_sum_10m"], 2),
        (6, ["amount_sum_10m"], 0),
    ]


# --- what cannot be compared


def test_rows_whose_windows_reach_back_to_deleted_events_are_not_compared(tmp_path: Path) -> None:
    sent = [Sent(f"e{n}", 10.0 * n, "c0", "t1", 1.0 + n) for n in range(40)]
    world = run(sent, tmp_path)
    world.deleted[world.project.plan.source.topic, 0] = 5
    parity = world.check()
    assert causes(parity) == {}
    assert parity.findings.not_compared[NOT_WARM] > 0
    assert parity.findings.not_compared[EVENT_GONE] == 5
    # The first event is gone, its hour, the hop, the horizon of duplicates and the clock guard.
    warm = parity.findings.compared["features", "spend@1"] - 40
    assert 0 < warm < 35 * 5


def test_events_whose_feature_record_was_deleted_are_not_compared(tmp_path: Path) -> None:
    world = run([Sent(f"e{n}", n, "c0", "t1", 1.0 + n) for n in range(20)], tmp_path)
    world.deleted[world.project.plan.features_topic, 0] = 5
    parity = world.check()
    assert causes(parity) == {}
    assert parity.findings.not_compared == {RECORD_GONE: 5}


def test_events_whose_prediction_was_deleted_are_not_compared(tmp_path: Path) -> None:
    world = run([Sent(f"e{n}", n, "c0", "t1", 1.0 + n) for n in range(20)], tmp_path)
    world.deleted[world.project.pipeline.predictions_topic, 0] = 5
    parity = world.check()
    assert causes(parity) == {}
    assert parity.findings.not_compared == {PREDICTION_GONE: 5}


def test_an_order_is_known_although_the_first_feature_records_were_deleted(tmp_path: Path) -> None:
    world = _another_order(tmp_path)
    for partition in range(2):
        world.deleted[world.project.plan.features_topic, partition] = 3
    assert set(causes(world.check())) == {"interleaving"}


def test_an_event_that_the_job_refused_by_its_own_clock_counts_for_nothing(tmp_path: Path) -> None:
    sent = payments()
    raw = {n: [s for s in sent if s.partition == n] for n in range(2)}
    world = run([*sent[:10], *sent[11:]], tmp_path, raw=raw)
    topic = world.project.plan.source.topic
    offset = raw[sent[10].partition].index(sent[10])
    world.letters[topic + ".dlq"] = [letter(sent[10], offset, topic, "penstock.job", "penstock.FutureEvent")]
    assert causes(world.check()) == {}


def test_a_computed_column_may_be_rounded_otherwise_in_flink_and_so_may_what_aggregates_it(tmp_path: Path) -> None:
    logarithm = ps.Derived(sql="LN(amount + 1) * 1.0000000000000002", type="double")
    world = run(payments(), tmp_path, definition=pipeline().model_copy(update={"derived": {"log_amount": logarithm}}))
    world = replace(world, project=Project.of(pipeline(), tmp_path))
    assert causes(world.check()) == causes(world.check(begin=15)) == {}


def test_an_event_that_the_sources_filter_does_not_accept_counts_for_nothing(tmp_path: Path) -> None:
    world = run(payments(), tmp_path, definition=pipeline(filter="amount < 60"))
    parity = world.check()
    assert causes(parity) == {}
    assert parity.events == sum(sent.amount < 60 for sent in payments()) < 40


def test_only_the_events_of_the_range_are_compared_with_all_of_their_past(tmp_path: Path) -> None:
    parity = run(payments(), tmp_path).check(begin=10, end=20)
    assert causes(parity) == {}
    assert parity.events == sum(10 <= sent.minute < 20 for sent in payments())


def test_a_sample_has_whole_entities_and_finds_in_them_what_a_whole_run_finds(tmp_path: Path) -> None:
    world = _another_order(tmp_path)
    whole, some = world.check(), world.check(sample=Sample(2))
    assert 0 < some.entities < whole.entities
    assert set(causes(some)) <= {"interleaving"}
    chosen = Sample(2).chosen()
    wanted = {
        r.first.entity for r in whole.findings.roots[Cause.INTERLEAVING] if chosen("terminal", str(r.first.entity))
    }
    found = {root.first.entity for root in some.findings.roots.get(Cause.INTERLEAVING, ())}
    assert found == wanted


# --- any two-partition run


@st.composite
def _runs(draw: st.DrawFn) -> tuple[list[Sent], list[bool], int, int, list[bool]]:
    """Events with copies and late ones, the partition that the job reads next, and where it fails and goes on."""
    count = draw(st.integers(2, 24))
    sent = []
    for number in range(count):
        card = draw(st.integers(0, 3))
        late = draw(st.sampled_from([0, 0, 1, 5, 90]))
        terminal = draw(st.sampled_from(["t1", "t2", None]))
        sent.append(
            Sent(f"e{number}", number * 2.0 - late, f"c{card}", terminal, 1.1 * number + 0.3, card % 2, number * 2.0)
        )
        if draw(st.integers(0, 5)) == 0:
            sent.append(replace(sent[-1], at=number * 2.0 + 0.5))
    turns = st.lists(st.booleans(), min_size=len(sent), max_size=len(sent))
    fails = draw(st.integers(0, len(sent)))
    return sent, draw(turns), fails, draw(st.integers(0, fails)), draw(turns)


def _merged(sent: Sequence[Sent], turns: Sequence[bool]) -> list[Sent]:
    waiting = [[s for s in sent if s.partition == n] for n in range(2)]
    found = []
    for turn in turns:
        own = waiting[turn] or waiting[not turn]
        if own:
            found.append(own.pop(0))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_runs())
def test_any_interleaving_of_two_partitions_with_a_failure_in_it_is_explained(
    tmp_path: Path, drawn: tuple[list[Sent], list[bool], int, int, list[bool]]
) -> None:
    sent, turns, fails, checkpoint, turns_after = drawn
    raw = {n: [s for s in sent if s.partition == n] for n in range(2)}
    before = _merged(sent, turns)[:fails]
    kept = before[:checkpoint]
    rest = [one for one in sent if not any(one is other for other in kept)]
    world = run(before, tmp_path, raw=raw)
    after = records_of(world.project, [*kept, *_merged(rest, turns_after)], raw, attempt=2)
    done = {(r["source"]["partition"], r["source"]["offset"]) for r in records_of(world.project, kept, raw)}
    world.features += [r for r in after if (r["source"]["partition"], r["source"]["offset"]) not in done]
    world.predictions = predictions_of(world.project, world.features)
    parity = world.check()
    assert set(causes(parity)) <= {"interleaving", "late"}
    assert parity.findings.values > 0


@pytest.mark.parametrize("value", [None, b"hello", b"\xc3\x01 another release's schema"])
def test_records_that_are_none_do_not_end_a_run_and_are_counted(tmp_path: Path, value: bytes | None) -> None:
    world = run(payments(), tmp_path)
    sources, plan = world.sources(), world.project.plan
    topics = (plan.features_topic, world.project.pipeline.predictions_topic)

    def read(topic: str) -> Iterator[Record]:
        yield from sources.read(topic)
        if topic in topics:
            yield Record(0, 10**6, NOON, None, value, ())

    wanted = Range(NOON - 10**9, NOON + 10**9)
    found = check_parity(world.project, replace(sources, read=read), wanted, shared_kernel())
    assert found.findings.not_compared[UNREADABLE] == 2
    assert found.unexplained == 0
    # The record of an event that is none is no record of it.
    world.predictions.pop()
    assert check_parity(world.project, replace(sources, read=read), wanted, shared_kernel()).unexplained == 1
