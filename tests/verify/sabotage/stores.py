"""What can be wrong with Redis and Cassandra."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from streams.plan.feature_records import view_schema
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from verify import store_formats as formats
from verify.run_data import RunData, StoredTable


def _edit_vector(run: RunData, edit: Callable[[bytes], bytes]) -> RunData:
    key = min(key for key in run.redis if ":by_shop@" in key)
    return dataclasses.replace(run, redis={**run.redis, key: edit(run.redis[key])})


@mutant("redis_mismatches")
def redis_behind(project: Project, run: RunData) -> RunData:
    """The vector of an entity is the one before its latest, with all its bytes."""
    view = project.plan.view("by_shop")
    parts = [(r.value["by_shop"], r.value["attempt"]) for r in run.features if r.value["by_shop"] is not None]
    entity = parts[-1][0]["entity"]
    ordered = sorted(((p["epoch"], p["seq"], a, p["as_of"]), p) for p, a in parts if p["entity"] == entity)
    key = formats.vector_key(project.plan, view, entity)
    order, part = ordered[-2]
    head = run.redis[key][:1] + b"".join(number.to_bytes(8, "big", signed=number < 0) for number in order)
    encoder = Encoder(view_schema(view))
    return dataclasses.replace(run, redis={**run.redis, key: head + encoder.encode(part)})


@mutant("redis_mismatches")
def redis_ahead(_: Project, run: RunData) -> RunData:
    return _edit_vector(run, lambda v: v[:9] + (int.from_bytes(v[9:17], "big") + 1).to_bytes(8, "big") + v[17:])


@mutant("redis_mismatches")
def a_vector_of_an_entity_that_does_not_exist(project: Project, run: RunData) -> RunData:
    key = min(run.redis)
    stray = formats.vector_key(project.plan, project.plan.view("by_shop"), "nobody")
    return dataclasses.replace(run, redis={**run.redis, stray: run.redis[key]})


@mutant("redis_mismatches")
def a_vector_evicted(_: Project, run: RunData) -> RunData:
    key = min(run.redis)
    return dataclasses.replace(run, redis={name: value for name, value in run.redis.items() if name != key})


@mutant("redis_mismatches")
def a_vector_of_another_value(_: Project, run: RunData) -> RunData:
    return _edit_vector(run, lambda value: value[:-1] + bytes([value[-1] ^ 2]))


@mutant("redis_mismatches")
def garbage_in_redis(_: Project, run: RunData) -> RunData:
    return _edit_vector(run, lambda _: b"garbage")


def _edit_table(run: RunData, name: str, edit: Callable[[StoredTable], StoredTable]) -> RunData:
    return dataclasses.replace(run, cassandra={**run.cassandra, name: edit(run.cassandra[name])})


def _edit_row(run: RunData, name: str, **changes: Any) -> RunData:
    """Change columns of one row that are no part of its key."""

    def edit(table: StoredTable) -> StoredTable:
        return dataclasses.replace(table, rows=[{**table.rows[0], **changes}, *table.rows[1:]])

    return _edit_table(run, name, edit)


def _history(project: Project) -> str:
    return formats.history_table(project.plan, project.plan.view("by_card"))


@mutant("cassandra_mismatches")
def a_row_of_the_history_lost(project: Project, run: RunData) -> RunData:
    return _edit_table(run, _history(project), lambda t: dataclasses.replace(t, keys=t.keys[1:], rows=t.rows[1:]))


@mutant("cassandra_mismatches")
def a_row_of_the_history_lost_with_a_letter_that_is_not_true(project: Project, run: RunData) -> RunData:
    key = run.cassandra[_history(project)].keys[0]
    of_row = (
        record
        for record in run.features
        if (part := record.value["by_card"]) is not None
        and key == tuple(formats.history_row(part, record.value)[column] for column in formats.HISTORY_KEY)
    )
    lost = first(of_row, "record of the first row of the history")
    letter = DeadLetter(
        topic=project.plan.features_topic,
        partition=lost.partition,
        offset=lost.offset,
        pipeline=project.plan.pipeline,
        stage="decode",
        component="penstock.sink.cassandra",
        reason="penstock.Undecodable",
        message="entity: longer than the 65000 bytes that a Cassandra key can have",
    )
    record = Record(lost.partition, 0, 0, None, None, tuple(letter.headers()))
    without = a_row_of_the_history_lost(project, run)
    return dataclasses.replace(without, unpublished=[*run.unpublished, record])


@mutant("cassandra_mismatches")
def a_row_of_the_history_that_was_never_published(project: Project, run: RunData) -> RunData:
    return _edit_table(
        run, _history(project), lambda t: dataclasses.replace(t, keys=[*t.keys, ("nobody", *t.keys[0][1:])])
    )


@mutant("cassandra_mismatches")
def a_value_of_the_history_changed(project: Project, run: RunData) -> RunData:
    name = _history(project)
    features = run.cassandra[name].rows[0]["features"]
    return _edit_row(run, name, features={**features, "count_10m": features["count_10m"] + 1})


@mutant("cassandra_mismatches")
def another_event_id_in_the_history(project: Project, run: RunData) -> RunData:
    return _edit_row(run, _history(project), event_id="another")


@mutant("cassandra_mismatches")
def a_row_in_the_wrong_slot(project: Project, run: RunData) -> RunData:
    def edit(table: StoredTable) -> StoredTable:
        entity, _, *rest = table.keys[0]
        return dataclasses.replace(table, keys=[(entity, formats.slot(0), *rest), *table.keys[1:]], rows=table.rows[1:])

    return _edit_table(run, _history(project), edit)


@mutant("cassandra_mismatches")
def a_backfill_that_is_not_in_the_history_though_its_manifest_says_so(_: Project, run: RunData) -> RunData:
    backfills = [dataclasses.replace(one, keyspaces=(run.keyspace,)) for one in run.backfills]
    return dataclasses.replace(run, backfills=backfills)


def _with_epoch(project: Project, run: RunData, epoch: int) -> RunData:
    """The first row of the history, under another epoch."""
    name, place = _history(project), formats.HISTORY_KEY.index("epoch")

    def edit(table: StoredTable) -> StoredTable:
        key = table.keys[0]
        return dataclasses.replace(table, keys=[(*key[:place], epoch, *key[place + 1 :]), *table.keys])

    return _edit_table(run, name, edit)


@mutant("cassandra_mismatches")
def a_row_of_the_history_under_the_epoch_of_a_backfill_that_lacks_it(project: Project, run: RunData) -> RunData:
    return _with_epoch(project, run, run.backfills[0].epoch)


@mutant("unchecked")
def a_row_of_the_history_of_a_backfill_that_is_not_given(project: Project, run: RunData) -> RunData:
    return _with_epoch(project, run, -1)


@mutant("cassandra_mismatches")
def the_table_by_entity_empty(project: Project, run: RunData) -> RunData:
    _, by_entity = formats.prediction_tables(project.plan.pipeline)
    return _edit_table(run, by_entity, lambda t: dataclasses.replace(t, keys=(), rows=()))


@mutant("cassandra_mismatches")
def another_decision_in_the_table_by_entity(project: Project, run: RunData) -> RunData:
    _, by_entity = formats.prediction_tables(project.plan.pipeline)
    return _edit_row(run, by_entity, decision="another")


@mutant("cassandra_mismatches")
def a_row_of_the_prediction_log_lost(project: Project, run: RunData) -> RunData:
    by_event, _ = formats.prediction_tables(project.plan.pipeline)
    return _edit_table(run, by_event, lambda t: dataclasses.replace(t, keys=t.keys[1:], rows=t.rows[1:]))


def _log_with(project: Project, run: RunData, **changes: Any) -> RunData:
    by_event, _ = formats.prediction_tables(project.plan.pipeline)
    return _edit_row(run, by_event, **changes)


@mutant("cassandra_mismatches")
def another_score_in_the_prediction_log(project: Project, run: RunData) -> RunData:
    return _log_with(project, run, score=0.123)


@mutant("cassandra_mismatches")
def other_views_in_the_prediction_log(project: Project, run: RunData) -> RunData:
    return _log_with(project, run, views=[])


@mutant("cassandra_mismatches")
def another_vector_in_the_prediction_log(project: Project, run: RunData) -> RunData:
    return _log_with(project, run, vector=b"\x00" * 16)


@mutant("cassandra_mismatches")
def another_route_in_the_prediction_log(project: Project, run: RunData) -> RunData:
    return _log_with(project, run, route="fallback")


@mutant("unchecked")
def rows_of_which_only_the_keys_were_read(_: Project, run: RunData) -> RunData:
    tables = {name: dataclasses.replace(table, rows=()) for name, table in run.cassandra.items()}
    return dataclasses.replace(run, cassandra=tables)
