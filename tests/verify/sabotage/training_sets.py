"""What can be wrong with a training set that lies in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Change, first, mutant
from verify.run_data import BuiltSet, RunData

TRAINING_SET_MUTANTS: list[Any] = []
LABEL_SOURCE_MUTANTS: list[Any] = []
_FOUND = "built_set_mismatches"


def _set_mutant(change: Change) -> Change:
    return mutant(_FOUND, into=TRAINING_SET_MUTANTS)(change)


def _edit(run: RunData, place: int, edit: Callable[[pa.Table], pa.Table], **manifest: Any) -> RunData:
    """The run with another set at this place; its manifest is as before, but for the changes."""
    sets = list(run.built_sets)
    built = sets[place]
    sets[place] = dataclasses.replace(built, rows=edit(built.rows), manifest={**built.manifest, **manifest})
    return dataclasses.replace(run, built_sets=sets)


def _set_with(run: RunData, has: Callable[[BuiltSet], bool], what: str) -> int:
    return first((place for place, built in enumerate(run.built_sets) if has(built)), f"training set with {what}")


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, with times as epoch milliseconds."""
    plain = pa.table({name: _plain(table[name]) for name in table.column_names})
    rows: list[dict[str, Any]] = plain.to_pylist()
    return rows


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast("int64") if pa.types.is_timestamp(column.type) else column


def _edit_row(run: RunData, has: Callable[[dict[str, Any]], bool], what: str, **changes: Any) -> RunData:
    """Change the first row that a set has of a kind; a change may be a function of the row."""
    place = _set_with(run, lambda built: any(map(has, _rows(built.rows))), what)

    def edit(table: pa.Table) -> pa.Table:
        rows = _rows(table)
        row = next(filter(has, rows))
        row.update({name: change(dict(row)) if callable(change) else change for name, change in changes.items()})
        return pa.Table.from_pylist(rows, table.schema)

    return _edit(run, place, edit)


def _window_input(built: BuiltSet) -> str:
    """An input that comes from a view."""
    return str(next(name for name in built.manifest["inputs"] if not name.startswith("event.")))


def _horizon(run: RunData) -> int:
    return int(run.built_sets[0].manifest["labels"]["horizon_ms"])


@_set_mutant
def a_label_that_came_after_the_horizon(_: Project, run: RunData) -> RunData:
    horizon = _horizon(run)
    return _edit_row(
        run,
        lambda row: row["label"] == 0 and row["label_known_at"] is None,
        "a row without a label",
        label=1,
        label_known_at=lambda row: row["event_time"] + horizon + 1,
    )


@_set_mutant
def an_immature_event_let_in(_: Project, run: RunData) -> RunData:
    """At the end, where it belongs by its time; the counts agree."""
    horizon = _horizon(run)

    def edit(table: pa.Table) -> pa.Table:
        row = _rows(table)[-1]
        young = {"event_id": "young", "event_time": built.manifest["until_ms"] - horizon + 1, "label": 1}
        young["label_known_at"] = young["event_time"] + 1
        return pa.concat_tables([table, pa.Table.from_pylist([row | young], table.schema)])

    built = run.built_sets[0]
    *parts, last = built.manifest["parts"]
    counts = {"parts": [*parts, {**last, "rows": last["rows"] + 1}], "rows": built.manifest["rows"] + 1}
    return _edit(run, 0, edit, **counts)


@_set_mutant
def a_feature_of_one_event_later(_: Project, run: RunData) -> RunData:
    def edit(table: pa.Table) -> pa.Table:
        name = _window_input(run.built_sets[0])
        place = table.column_names.index(name)
        values = table[name].to_pylist()
        return table.set_column(place, table.schema.field(place), pa.array([*values[1:], values[0]], pa.float32()))

    return _edit(run, 0, edit)


@_set_mutant
def a_vector_known_later_than_the_set_says(_: Project, run: RunData) -> RunData:
    return _edit_row(run, lambda _: True, "a row", known_at=lambda row: row["known_at"] - 1)


@_set_mutant
def two_rows_with_each_others_labels(_: Project, run: RunData) -> RunData:
    place = _set_with(run, lambda built: len(set(built.rows["label"].to_pylist())) > 1, "both classes")

    def edit(table: pa.Table) -> pa.Table:
        rows = _rows(table)
        one, other = (next(row for row in rows if row["label"] == label) for label in (0, 1))
        for name in ("label", "label_known_at"):
            one[name], other[name] = other[name], one[name]
        return pa.Table.from_pylist(rows, table.schema)

    return _edit(run, place, edit)


@_set_mutant
def a_label_known_at_another_time(_: Project, run: RunData) -> RunData:
    return _edit_row(
        run,
        lambda row: row["label_known_at"] is not None,
        "a label",
        label_known_at=lambda row: row["label_known_at"] + 1,
    )


@_set_mutant
def parts_swapped(_: Project, run: RunData) -> RunData:
    names = {"train": "test", "test": "train"}

    def edit(table: pa.Table) -> pa.Table:
        place = table.column_names.index("split")
        swapped = pa.array([names.get(name, name) for name in table["split"].to_pylist()])
        return table.set_column(place, table.schema.field(place), swapped)

    return _edit(run, 0, edit)


@_set_mutant
def an_embargo_forgotten(_: Project, run: RunData) -> RunData:
    return _edit_row(run, lambda row: row["split"] == "embargo", "an embargo", split="train")


@_set_mutant
def a_value_off_in_its_last_bit(_: Project, run: RunData) -> RunData:
    """The hash in the manifest stays."""
    name = _window_input(run.built_sets[0])

    def above(row: Mapping[str, Any]) -> float:
        return float(np.nextafter(np.float32(row[name]), np.float32(np.inf)))

    return _edit_row(run, lambda row: row.get(name) is not None, "a value", **{name: above})


@_set_mutant
def a_null_that_became_zero(_: Project, run: RunData) -> RunData:
    name = first(
        (name for built in run.built_sets for name in built.manifest["inputs"] if built.rows[name].null_count), "null"
    )
    return _edit_row(run, lambda row: row[name] is None, "a null", **{name: 0.0})


@_set_mutant
def a_hidden_outcome_that_counts_as_seen(_: Project, run: RunData) -> RunData:
    return _edit_row(run, lambda row: row["p_observed"] is None, "a hidden outcome", p_observed=1.0)


@_set_mutant
def an_explored_outcome_with_another_weight(_: Project, run: RunData) -> RunData:
    return _edit_row(run, lambda row: (row["p_observed"] or 1.0) < 1.0, "an explored row", p_observed=1.0)


@_set_mutant
def a_row_of_a_set_lost(_: Project, run: RunData) -> RunData:
    return _edit(run, 0, lambda table: table.slice(1))


@_set_mutant
def a_row_of_a_set_twice(_: Project, run: RunData) -> RunData:
    return _edit(run, 0, lambda table: pa.concat_tables([table.slice(0, 1), table]))


@_set_mutant
def rows_of_a_set_in_another_order(_: Project, run: RunData) -> RunData:
    return _edit(run, 0, lambda table: table.take([1, 0, *range(2, table.num_rows)]))


@_set_mutant
def a_set_with_another_hash(_: Project, run: RunData) -> RunData:
    return _edit(run, 0, lambda table: table, data_hash="0" * 64)


@_set_mutant
def a_set_that_claims_to_know_less(_: Project, run: RunData) -> RunData:
    return _edit(run, 0, lambda table: table, until_ms=run.built_sets[0].manifest["until_ms"] - 1)


@mutant("unchecked", into=TRAINING_SET_MUTANTS)
def a_set_of_an_unknown_backfill(_: Project, run: RunData) -> RunData:
    place = _set_with(run, lambda built: built.manifest["request"]["features"] == "recomputed", "recomputed features")
    counts = run.built_sets[place].manifest["counts"]
    return _edit(run, place, lambda table: table, counts={**counts, "features_read": 0})


@mutant("unchecked", into=TRAINING_SET_MUTANTS)
def a_set_whose_labels_kafka_no_longer_has(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, labels=[run.labels[0][1:], *run.labels[1:]])


# Of labels with several sources, which the recorded run has not.


@mutant(_FOUND, into=LABEL_SOURCE_MUTANTS)
def a_label_of_another_source_than_it_says(_: Project, run: RunData) -> RunData:
    return _edit_row(run, _is_of_the_first, "label of the first source", label_source="labels.opinions")


@mutant(_FOUND, into=LABEL_SOURCE_MUTANTS)
def a_later_label_of_the_second_source_that_counts(_: Project, run: RunData) -> RunData:
    return _edit_row(
        run,
        lambda row: _is_of_the_first(row) and int(row["event_id"][1:]) % 4 == 0,
        "event of which both sources say something",
        label=lambda row: 1 - row["label"],
        label_source="labels.opinions",
    )


@mutant(_FOUND, into=LABEL_SOURCE_MUTANTS)
def a_set_that_counts_other_labels_of_its_sources(_: Project, run: RunData) -> RunData:
    counts = run.built_sets[0].manifest["label_sources"]
    return _edit(run, 0, lambda table: table, label_sources=dict(zip(counts, reversed(counts.values()), strict=True)))


def _is_of_the_first(row: dict[str, Any]) -> bool:
    return bool(row["label_source"] == "labels.taps")
