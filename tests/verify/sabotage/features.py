"""What can be wrong with feature records: the events that a view counted, and each field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from streams.plan.feature_records import features_schema
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from tests.verify.sabotage.editing import (
    busiest_entity,
    edit_record,
    event_records,
    first_emissions,
    recomputed,
    with_derived,
    with_part,
    with_values,
)
from verify.published import Position, Published
from verify.run_data import RunData


def _seen(
    project: Project, run: RunData, view_name: str, change: Callable[[list[Position]], list[Position]]
) -> RunData:
    """The run as if a view had seen the changed events of its busiest entity, in one attempt."""
    view = project.plan.view(view_name)
    entity, chain = busiest_entity(project, run, view)
    return recomputed(project, first_emissions(run), view, entity, change(chain))


@mutant("feature_mismatches")
def state_of_a_card_lost_at_a_restart(project: Project, run: RunData) -> RunData:
    return _seen(project, run, "by_card", lambda chain: chain[len(chain) // 2 :])


@mutant("feature_mismatches")
def state_of_a_shop_lost_at_a_restart(project: Project, run: RunData) -> RunData:
    return _seen(project, run, "by_shop", lambda chain: chain[len(chain) // 2 :])


@mutant("epochs")
def a_new_epoch_for_each_event(project: Project, run: RunData) -> RunData:
    view = project.plan.view("by_card")
    entity, chain = busiest_entity(project, run, view)
    run = first_emissions(run)
    for position in chain:
        run = recomputed(project, run, view, entity, [position])
    numbers = {position: number for number, position in enumerate(chain)}
    features = [
        with_part(record, view.name, epoch=record.value[view.name]["epoch"] + numbers[record.position])
        if record.position in numbers
        else record
        for record in run.features
    ]
    return dataclasses.replace(run, features=features)


@mutant("epochs")
def a_later_epoch_without_the_history(project: Project, run: RunData) -> RunData:
    view = project.plan.view("by_card")
    entity, chain = busiest_entity(project, run, view)
    late = set(chain[-5:])
    run = recomputed(project, first_emissions(run), view, entity, chain[-5:])
    features = [
        with_part(record, view.name, epoch=record.value[view.name]["epoch"] + 1) if record.position in late else record
        for record in run.features
    ]
    return dataclasses.replace(run, features=features)


@mutant("feature_mismatches")
def a_partition_read_in_another_order(project: Project, run: RunData) -> RunData:
    view = project.plan.view("by_card")
    entity, chain = busiest_entity(project, run, view)
    chain[3], chain[4] = chain[4], chain[3]
    return recomputed(project, first_emissions(run), view, entity, chain)


@mutant("feature_mismatches")
def an_event_of_a_card_not_counted(project: Project, run: RunData) -> RunData:
    return _seen(project, run, "by_card", lambda chain: chain[:5] + chain[6:])


@mutant("feature_mismatches")
def an_event_of_a_shop_not_counted(project: Project, run: RunData) -> RunData:
    return _seen(project, run, "by_shop", lambda chain: chain[:5] + chain[6:])


@mutant("feature_mismatches")
def an_attempt_that_drops_events_and_does_not_emit_them_again(project: Project, run: RunData) -> RunData:
    view = project.plan.view("by_card")
    entity, chain = busiest_entity(project, run, view)
    middle = len(chain) // 2
    after = chain[: middle - 2] + chain[middle:]
    run = recomputed(project, first_emissions(run), view, entity, chain[:middle])
    later = recomputed(project, run, view, entity, after)
    attempt = 1 + max(record.value["attempt"] for record in run.features)
    features = [
        with_values(changed, attempt=attempt) if record.position in set(chain[middle:]) else record
        for record, changed in zip(run.features, later.features, strict=True)
    ]
    return dataclasses.replace(run, features=features)


@mutant("feature_mismatches")
def the_oldest_tile_lost(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_card", count_10m=r.value["by_card"]["count_10m"] - 1))


@mutant("feature_mismatches")
def one_tile_counted_twice(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_shop", count_10m=r.value["by_shop"]["count_10m"] + 1))


@mutant("feature_mismatches")
def a_sum_off_by_a_millionth(_: Project, run: RunData) -> RunData:
    return edit_record(
        run, 9, lambda r: with_part(r, "by_card", amount_sum_1m=r.value["by_card"]["amount_sum_1m"] * 1.000001)
    )


@mutant("feature_mismatches")
def a_value_that_is_null(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_shop", amount_max_10m=None))


@mutant("feature_mismatches")
def the_vectors_of_two_entities_swapped(_: Project, run: RunData) -> RunData:
    features = list(run.features)
    one = event_records(run)[5]
    card = features[one].value["by_card"]["entity"]
    others = (p for p in event_records(run) if features[p].value["by_card"]["entity"] != card)
    other = first(others, "record of a second card")
    parts = features[one].value["by_card"], features[other].value["by_card"]
    features[one], features[other] = (
        with_values(features[one], by_card=parts[1]),
        with_values(features[other], by_card=parts[0]),
    )
    return dataclasses.replace(run, features=features)


@mutant("feature_mismatches")
def the_values_of_two_entities_swapped(project: Project, run: RunData) -> RunData:
    features = list(run.features)
    names = [feature.name for feature in project.plan.view("by_card").features]
    one = event_records(run)[5]
    own = features[one].value["by_card"]
    others = (
        p
        for p in event_records(run)
        if features[p].value["by_card"]["entity"] != own["entity"] and features[p].value["by_card"] != own
    )
    other = first(others, "record of a second card with other values")
    values = {name: features[other].value["by_card"][name] for name in names}
    features[one] = with_derived(project, with_part(features[one], "by_card", **values))
    return dataclasses.replace(run, features=features)


@mutant("feature_mismatches")
def a_stale_vector_emitted(project: Project, run: RunData) -> RunData:
    view = project.plan.view("by_card")
    _, chain = busiest_entity(project, run, view)
    by_position = {record.position: record for record in run.features if not record.is_timer}
    old = by_position[chain[4]].value["by_card"]
    values = {feature.name: old[feature.name] for feature in view.outputs}
    features = [
        with_part(record, "by_card", **values) if record.position == chain[7] and not record.is_timer else record
        for record in run.features
    ]
    return dataclasses.replace(run, features=features)


@mutant("feature_gaps", "feature_mismatches")
def a_feature_record_lost(project: Project, run: RunData) -> RunData:
    position = run.features[event_records(run)[9]].position
    features = [record for record in run.features if record.is_timer or record.position != position]
    return dataclasses.replace(run, features=features)


@mutant("dead_letter_mismatches")
def a_letter_in_place_of_a_feature_record_that_was_not_long(project: Project, run: RunData) -> RunData:
    record = run.features[event_records(run)[9]]
    source = record.value["source"]
    letter = DeadLetter(
        topic=source["topic"],
        partition=source["partition"],
        offset=source["offset"],
        pipeline=project.plan.pipeline,
        stage="encode",
        component="penstock.job",
        reason="penstock.FeaturesTooLarge",
        message="the feature record is longer than its topic takes",
        key=record.key,
        value=Encoder(features_schema(project.plan)).encode(record.value),
        value_bytes=2_000_000,
    )
    features = [other for other in run.features if other.is_timer or other.position != record.position]
    unpublished = [Record(record.partition, 0, 0, letter.key, letter.value, tuple(letter.headers()))]
    return dataclasses.replace(run, features=features, unpublished=unpublished)


@mutant("feature_mismatches")
def features_of_an_event_that_is_not_valid(_: Project, run: RunData) -> RunData:
    letter = int(dict(run.dead_letters[0][0].headers)["__connect.errors.offset"] or b"0")
    position = Position(run.dead_letters[0][0].partition, letter)
    extra = run.features[event_records(run)[9]]
    source = {**extra.value["source"], "partition": position.partition, "offset": position.offset}
    return dataclasses.replace(run, features=[*run.features, with_values(extra, source=source)])


@mutant("feature_mismatches", "feature_gaps")
def the_offset_of_the_raw_event_shifted_by_one(_: Project, run: RunData) -> RunData:
    return edit_record(
        run, 9, lambda r: with_values(r, source={**r.value["source"], "offset": r.value["source"]["offset"] + 1})
    )


@mutant("feature_mismatches")
def another_timestamp_of_the_raw_event(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_values(r, source={**r.value["source"], "timestamp": 1}))


@mutant("feature_mismatches")
def another_event_id(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_values(r, event_id="another"))


@mutant("feature_mismatches")
def another_event_time(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_values(r, event_time=r.value["event_time"] + 1))


@mutant("feature_mismatches")
def another_key_of_a_feature_record(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: dataclasses.replace(r, key=b"another"))


@mutant("feature_mismatches")
def another_value_of_an_input_that_is_passed_through(_: Project, run: RunData) -> RunData:
    return edit_record(
        run, 9, lambda r: with_values(r, event={**r.value["event"], "amount": r.value["event"]["amount"] + 1})
    )


@mutant("feature_mismatches")
def a_derived_feature_that_does_not_follow(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_card", share=r.value["by_card"]["share"] / 2))


@mutant("feature_mismatches")
def an_event_flagged_late(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_card", late=True))


@mutant("feature_mismatches")
def a_vector_as_of_another_time(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_card", as_of=r.value["by_card"]["as_of"] + 1))


@mutant("feature_mismatches")
def a_view_left_out(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_values(r, by_shop=None))


def _edit_timer(run: RunData, edit: Callable[[Published], Published]) -> RunData:
    features = list(run.features)
    place = first((place for place, record in enumerate(features) if record.is_timer), "timer's record")
    features[place] = edit(features[place])
    return dataclasses.replace(run, features=features)


def _without_timers(run: RunData, is_lost: Callable[[Published], bool]) -> RunData:
    lost = {place for place, record in enumerate(run.features) if record.is_timer and is_lost(record)}
    first(lost, "timer's record that could be lost")
    features = [record for place, record in enumerate(run.features) if place not in lost]
    return dataclasses.replace(run, features=features)


@mutant("feature_mismatches")
def timers_of_a_silent_card_lost(_: Project, run: RunData) -> RunData:
    """The records without the timers of the card that is silent longest."""
    newest = {
        record.value["by_card"]["entity"]: record.value["event_time"] for record in run.features if not record.is_timer
    }
    silent = min(newest, key=newest.__getitem__)
    return _without_timers(run, lambda record: record.value["by_card"]["entity"] == silent)


@mutant("unchecked")
def all_timers_lost(_: Project, run: RunData) -> RunData:
    return _without_timers(run, lambda _: True)


@mutant("feature_mismatches")
def a_timer_with_another_value(_: Project, run: RunData) -> RunData:
    return _edit_timer(run, lambda r: with_part(r, "by_card", count_10m=r.value["by_card"]["count_10m"] + 1))


@mutant("feature_mismatches")
def a_timer_with_an_event_id(_: Project, run: RunData) -> RunData:
    return _edit_timer(run, lambda r: with_values(r, event_id="t0"))


@mutant("feature_mismatches")
def a_timer_with_another_event_behind_it(_: Project, run: RunData) -> RunData:
    return _edit_timer(run, lambda r: with_values(r, source={**r.value["source"], "offset": 0, "partition": 0}))


@mutant("feature_mismatches")
def a_timer_later_than_every_event(_: Project, run: RunData) -> RunData:
    return _edit_timer(run, lambda r: with_part(r, "by_card", as_of=r.value["by_card"]["as_of"] + 10**11))


@mutant("feature_mismatches")
def a_timer_without_a_view(_: Project, run: RunData) -> RunData:
    return _edit_timer(run, lambda r: with_values(r, by_card=None))


def _without_view(record: Published) -> Published:
    """The record as a definition without the view would have written it."""
    return dataclasses.replace(with_values(record, by_shop=None), lacks=frozenset({"by_shop"}))


@mutant("unchecked")
def a_view_that_was_never_emitted(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, features=[_without_view(record) for record in run.features])


@mutant("feature_mismatches")
def a_view_missing_on_some_records_of_an_attempt(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, _without_view)


@mutant("feature_mismatches")
def a_seq_below_one(_: Project, run: RunData) -> RunData:
    return edit_record(run, 9, lambda r: with_part(r, "by_card", seq=0))


@mutant("unchecked")
def a_run_without_events(_: Project, run: RunData) -> RunData:
    tables = {name: dataclasses.replace(table, keys=(), rows=()) for name, table in run.cassandra.items()}
    nothing: tuple[tuple[Record, ...], ...] = tuple(() for _ in run.sources)
    return RunData(
        sources=nothing, dead_letters=nothing, features=(), predictions=(), cassandra=tables, models=run.models
    )
