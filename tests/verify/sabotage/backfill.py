"""What can be wrong with a backfill."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import mutant
from tests.verify.sabotage.editing import busiest_entity
from verify.run_data import RunData


def _edit_rows(run: RunData, edit: Callable[[pa.Table], pa.Table]) -> RunData:
    (backfill,) = run.backfills
    return dataclasses.replace(run, backfills=[dataclasses.replace(backfill, rows=edit(backfill.rows))])


def _with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(place), values.cast(table.schema.field(place).type))


@mutant("backfill_mismatches")
def a_backfilled_value_shifted_by_one_row(_: Project, run: RunData) -> RunData:
    def edit(table: pa.Table) -> pa.Table:
        values = table["by_card.amount_mean_10m"].to_pylist()
        return _with_column(table, "by_card.amount_mean_10m", pa.array([*values[1:], values[0]]))

    return _edit_rows(run, edit)


@mutant("backfill_mismatches")
def a_backfilled_value_off_in_its_last_bit(project: Project, run: RunData) -> RunData:
    """Of a card with taps alone, whose live order the replay has too."""
    (card, _) = busiest_entity(project, run, project.plan.view("by_card"))

    def edit(table: pa.Table) -> pa.Table:
        values = table["by_card.amount_mean_10m"].to_pylist()
        place = table["by_card.entity"].to_pylist().index(card)
        values[place] *= 1 + 2**-52
        return _with_column(table, "by_card.amount_mean_10m", pa.array(values))

    return _edit_rows(run, edit)


@mutant("backfill_mismatches")
def a_backfilled_row_lost(_: Project, run: RunData) -> RunData:
    return _edit_rows(run, lambda table: table.slice(1))


@mutant("backfill_mismatches")
def a_backfilled_row_written_twice(_: Project, run: RunData) -> RunData:
    return _edit_rows(run, lambda table: pa.concat_tables([table, table.slice(0, 1)]))


@mutant("backfill_mismatches")
def another_event_column_in_a_backfill(_: Project, run: RunData) -> RunData:
    return _edit_rows(run, lambda table: _with_column(table, "event.amount", pc.add(table["event.amount"], 1.0)))


@mutant("backfill_mismatches")
def a_backfill_with_other_rows_than_its_manifest_says(_: Project, run: RunData) -> RunData:
    (backfill,) = run.backfills
    changed = dataclasses.replace(backfill, announced_rows=backfill.announced_rows + 1)
    return dataclasses.replace(run, backfills=[changed])


@mutant("backfill_mismatches")
def a_backfill_without_vectors(_: Project, run: RunData) -> RunData:
    def edit(table: pa.Table) -> pa.Table:
        for name in table.column_names:
            if name.startswith("by_shop."):
                table = _with_column(table, name, pa.nulls(table.num_rows))
        return table

    return _edit_rows(run, edit)


@mutant("backfill_mismatches")
def a_backfill_without_a_column(_: Project, run: RunData) -> RunData:
    return _edit_rows(run, lambda table: table.drop_columns(["by_card.count_10m"]))


@mutant("unchecked")
def a_backfill_of_nothing(_: Project, run: RunData) -> RunData:
    (backfill,) = run.backfills
    rows = backfill.rows.slice(0, 0)
    nothing = dataclasses.replace(backfill, views=(), rows=rows, announced_rows=0, to_ms=backfill.from_ms)
    return dataclasses.replace(run, backfills=[nothing])
