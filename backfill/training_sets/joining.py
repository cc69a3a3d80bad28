"""The rules of a training set as SQL: which event is in it, with which label, in which part, and how surely seen.

DuckDB keeps what does not fit into its memory in files. Only narrow tables are joined here; :meth:`SetJoin.rows` joins
the vectors at the end. :func:`scoring.training_set.join` has the same rules for sets that fit into memory.
"""

# ruff: noqa: S608 - names of columns are numbers, and times are integers

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from backfill.training_sets.manifest import Arrival, Selection, SetCounts, Split
from scoring.label_maturity import Maturity
from streams.definitions.labels import Labels
from streams.definitions.pipeline import Model

SPLITS = ("train", "validation", "test")
EMBARGO = "embargo"
"""The part of rows whose labels were not final when the next part began."""

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_AGES = (
    *(n * _MINUTE for n in (1, 5, 15)),
    *(n * _HOUR for n in (1, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 365)),
)
_MOST_CLASSES = 20
# Events of several topics may have the same partition and offset.
_SAME_EVENT = "d.event_id = {0}.event_id AND d.part = {0}.part AND d.off = {0}.off"
_FOR_EVER = 2**63 - 1
_BATCH = 50_000


@dataclass(frozen=True)
class SetFiles:
    """The staged files; ``decisions`` is the same as ``features`` if these are predictions, None if none are needed."""

    labels: Path
    features: Path
    decisions: Path | None


@dataclass(frozen=True)
class SetRange:
    """Event times from ``from_ms`` until before ``to_ms``, as known at ``until_ms``."""

    from_ms: int
    to_ms: int
    until_ms: int | None


def connect(memory_limit: str, temporary: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory, of at most this much; the rest goes to files in a folder."""
    connection = duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "temp_directory": str(temporary),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET enable_progress_bar = false")
    return connection


class SetJoin:
    """Joins vectors to labels.

    Args:
        connection: DuckDB.
        files: What was staged.
        range_: Which events are wanted.
        labels: The labels' declaration.
        model: The model, whose decisions may hide labels.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: SetFiles,
        range_: SetRange,
        labels: Labels,
        model: Model,
    ) -> None:
        self._sql, self._range, self._labels, self._model = connection, range_, labels, model
        self._until = _FOR_EVER if range_.until_ms is None else range_.until_ms
        self._horizon = _FOR_EVER if labels.horizon is None else labels.horizon
        for name in ("labels", "features"):
            connection.read_parquet(str(getattr(files, name))).create_view(name)
        if files.decisions is not None:
            connection.read_parquet(str(files.decisions)).create_view("decisions")
        self._has_decisions = files.decisions is not None
        self._has_sources = bool(labels.otherwise)
        self._split = f"'{SPLITS[0]}'"
        self._select()

    def _select(self) -> None:
        """Make the tables: ``known`` labels, the ``events`` of all ids, ``mature`` ones with their labels, ``rows``."""
        until, horizon = self._until, self._horizon
        is_mature = "true" if self._labels.horizon is None else f"event_time::HUGEINT + {horizon} <= {until}"
        is_negative = self._labels.absent == "negative"
        decided = f"LEFT JOIN decisions d ON {_SAME_EVENT.format('e')}" if self._has_decisions else ""
        again = ", d.n" if self._has_decisions else ""
        of_source, first_source = "", ""
        if self._has_sources:
            # Of each source its last label, and of these that of the first source; one that was withdrawn has none.
            of_source = ", l.source"
            first_source = "QUALIFY row_number() OVER (PARTITION BY n ORDER BY source NULLS LAST) = 1"
        self._sql.execute(f"CREATE TABLE known AS SELECT * FROM labels WHERE known_at <= {until}")
        self._sql.execute(
            f"""
            CREATE TABLE events AS SELECT n, event_id, event_time, known_at, ts, part, off, reach,
                event_time >= {self._range.from_ms} AND event_time < {self._range.to_ms} AS in_range,
                greatest(event_time, known_at) <= {until} AS in_time, {is_mature} AS is_mature FROM features
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY ts, part, off, n) = 1
            """
        )
        self._sql.execute(
            f"""
            CREATE TABLE mature AS FROM (
                SELECT e.n, e.event_id, e.event_time, e.known_at, e.part, e.off, e.reach, l.value AS label,
                    if(l.value IS NULL, NULL, l.known_at) AS label_known_at,
                    if(l.value IS NULL, NULL, l.source) AS source, {self._observed()} AS p_observed
                FROM events e {decided} LEFT JOIN known l
                    ON l.event_id = e.event_id AND l.known_at::HUGEINT <= e.event_time::HUGEINT + {horizon}
                WHERE in_range AND in_time AND is_mature
                QUALIFY row_number() OVER (
                    PARTITION BY e.n{of_source} ORDER BY l.known_at DESC, l.ts DESC, l.part DESC, l.off DESC{again}
                ) = 1
            ) {first_source}
            """
        )
        self._sql.execute(
            f"""
            CREATE VIEW rows AS SELECT * EXCLUDE (label), label IS NULL AS is_absent,
                {"coalesce(label, 0)::TINYINT" if is_negative else "label"} AS label
            FROM mature {"" if is_negative else "WHERE label IS NOT NULL"}
            """
        )

    def _observed(self) -> str:
        """The probability with which a row's outcome could be seen, given the score's decision."""
        hidden_by = self._labels.hidden_by
        if hidden_by is None or not self._has_decisions:
            return "1.0::DOUBLE"
        hides = "'" + hidden_by.replace("'", "''") + "'"
        would_hide = "d.score >= " if hidden_by == self._model.positive else "d.score < "
        return f"""CASE
            WHEN d.decision IS NULL THEN 1.0
            WHEN d.decision = {hides} THEN NULL
            WHEN NOT d.explored THEN 1.0
            WHEN NOT d.same_policy THEN NULL
            WHEN {would_hide} {self._model.threshold!r}::DOUBLE THEN d.propensity
            ELSE 1.0 END::DOUBLE"""

    def explored(self) -> int:
        """How many predictions were explored."""
        return self._number("SELECT count(*) FROM decisions WHERE explored") if self._has_decisions else 0

    def require_labelled(self) -> None:
        """Check that labels come for all events, unless the definition says what no label means.

        Raises:
            PenstockError: if too few mature events have one.
        """
        labelled, mature = self._row("SELECT count(label), count(*) FROM mature")
        Maturity.of(self._labels).require_labelled(labelled, mature, self._range.until_ms)

    def counts(self) -> SetCounts:
        """What was read and left out, but for what was refused."""
        read = self._number("SELECT count(*) FROM features")
        served, in_range, in_time, mature = self._row(
            """
            SELECT count(*), count(*) FILTER (in_range), count(*) FILTER (in_range AND in_time),
                count(*) FILTER (in_range AND in_time AND is_mature) FROM events
            """
        )
        rows, absent = self._row("SELECT count(*), count(*) FILTER (is_absent) FROM rows")
        late = 0
        if self._labels.horizon is not None:
            late = self._number(
                """
                SELECT count(*) FROM mature m JOIN known l
                    ON l.event_id = m.event_id AND l.known_at::HUGEINT > m.event_time::HUGEINT + ?
                """,
                [self._horizon],
            )
        known = self._number("SELECT count(*) FROM known")
        labels = self._number("SELECT count(*) FROM labels")
        return SetCounts(
            features_read=read,
            ids_again=read - served,
            events_out_of_range=served - in_range,
            events_after_until=in_range - in_time,
            events_immature=in_time - mature,
            events_unlabelled=mature - rows,
            events_absent=absent,
            labels_read=labels,
            labels_after_until=labels - known,
            labels_after_horizon=late,
            labels_without_event=self._number(
                "SELECT count(DISTINCT event_id) FROM known WHERE event_id NOT IN (SELECT event_id FROM events)"
            ),
        )

    def arrival(self) -> tuple[Arrival, ...]:
        """The share of mature events whose label had come, by age up to the horizon or the oldest label's age."""
        mature, labelled, oldest = self._row(
            "SELECT count(*), count(label), max(label_known_at - event_time) FROM mature"
        )
        if not labelled:
            return ()
        last = oldest if self._labels.horizon is None else self._labels.horizon
        ages = [*(age for age in _AGES if age < last), max(last, 0)]
        by_age = ", ".join(f"count(*) FILTER (label_known_at - event_time <= {age})" for age in ages)
        if self._labels.task == "regression":
            of_class = [("value", labelled, *self._row(f"SELECT {by_age} FROM mature WHERE label IS NOT NULL"))]
        else:
            query = f"""
                SELECT label::VARCHAR, count(*) AS number, {by_age} FROM mature WHERE label IS NOT NULL
                GROUP BY ALL ORDER BY number DESC, 1 LIMIT {_MOST_CLASSES}
            """
            of_class = self._sql.execute(query).fetchall()
        total = self._row(f"SELECT {by_age} FROM mature WHERE label IS NOT NULL")
        return tuple(
            Arrival(
                age_ms=age,
                labelled=round(total[place] / mature, 6),
                classes={name: round(found[place] / number, 6) for name, number, *found in sorted(of_class)},
            )
            for place, age in enumerate(ages)
        )

    def selection(self) -> Selection:
        """What the decisions hide of the set's rows."""
        hidden_by, is_binary = self._labels.hidden_by, self._labels.task == "binary"
        negatives = self._number("SELECT count(*) FROM rows WHERE label = 0") if is_binary else None
        declined = unlabelled = explored = other = 0
        if hidden_by is not None and self._has_decisions:
            declined, unlabelled, explored, other = self._row(
                f"""
                SELECT count(*) FILTER (d.decision = $hides),
                    count(*) FILTER (d.decision = $hides AND is_absent),
                    count(*) FILTER (d.explored AND p_observed < 1),
                    count(*) FILTER (d.decision <> $hides AND p_observed IS NULL)
                FROM rows r JOIN decisions d ON {_SAME_EVENT.format("r")}
                """,
                {"hides": hidden_by},
            )
        share = round(unlabelled / negatives, 6) if negatives else None
        return Selection(
            hidden_by=hidden_by,
            declined=declined,
            declined_unlabelled=unlabelled,
            explored=explored,
            other_policy=other,
            negatives=negatives,
            unknown_share=share,
        )

    def versions(self) -> dict[str, int]:
        """How many rows each version of the model scored; empty unless vectors are those of predictions."""
        if "model" not in self._sql.table("features").columns:
            return {}
        query = "SELECT model, count(*) FROM rows JOIN features USING (n) GROUP BY ALL ORDER BY 1"
        return dict(self._sql.execute(query).fetchall())

    def cut(self, shares: Sequence[Fraction], *, embargo: bool) -> None:
        """Cut the set into parts by time, in which events of the same time stay together.

        Args:
            shares: Of rows, of training, validation and test; they sum to 1.
            embargo: Whether rows whose label was not final at the first event of the next part are in none.
        """
        rows = self._number("SELECT count(*) FROM rows")
        cuts = [self._time_at(int(rows * sum(shares[: number + 1])), rows) for number in range(len(shares) - 1)]
        cases = []
        for name, cut in zip(SPLITS[:-1], cuts, strict=True):
            if embargo:
                is_open = f"event_time < {cut} AND event_time::HUGEINT + {self._horizon} > {cut}"
                cases.append(f"WHEN {is_open} THEN '{EMBARGO}'")
            cases.append(f"WHEN event_time < {cut} THEN '{name}'")
        self._split = f"CASE {' '.join(cases)} ELSE '{SPLITS[-1]}' END"

    def splits(self) -> dict[str, Split]:
        """The parts, in their order."""
        positive = {"binary": "label = 1", "multiclass": "label = $positive", "regression": None}[self._labels.task]
        counted = "NULL" if positive is None else f"count(*) FILTER ({positive})"
        parameters = {"positive": str(self._labels.positive)} if self._labels.task == "multiclass" else None
        found = self._sql.execute(
            f"SELECT {self._split}, count(*), {counted}, min(event_time), max(event_time) FROM rows GROUP BY 1",
            parameters,
        ).fetchall()
        of = {name: Split(rows=n, positives=p, from_ms=begin, to_ms=end) for name, n, p, begin, end in found}
        return {name: of[name] for name in (*SPLITS, EMBARGO) if name in of}

    def labels_by_source(self) -> dict[str, int]:
        """How many rows have a label of each topic."""
        query = "SELECT source, count(*) FROM rows WHERE source IS NOT NULL GROUP BY 1"
        return {self._labels.topics[source]: rows for source, rows in self._sql.execute(query).fetchall()}

    def classes(self) -> tuple[str, ...]:
        """The classes of several, sorted."""
        if self._labels.task != "multiclass":
            return ()
        return tuple(sorted(value for (value,) in self._sql.execute("SELECT DISTINCT label FROM rows").fetchall()))

    def rows(self, inputs: int) -> Iterator[pa.RecordBatch]:
        """The rows in the order of event time and id: identity, label, then the inputs ``i0``, ``i1``, ...

        If labels have several sources, the topic of each label comes before the inputs.
        """
        topics = ", ".join(f"'{topic}'" for topic in self._labels.topics)  # of letters, digits and .-_ only
        source = f", [{topics}][r.source + 1]" if self._has_sources else ""
        columns = source + "".join(f", f.i{place}" for place in range(inputs))
        reader = self._sql.execute(
            f"""
            SELECT r.event_id, r.event_time, r.known_at, r.label, r.label_known_at, r.p_observed, r.split {columns}
            FROM (SELECT *, {self._split} AS split FROM rows) r JOIN features f USING (n)
            ORDER BY r.event_time, r.event_id
            """
        ).to_arrow_reader(_BATCH)
        yield from reader

    def _time_at(self, place: int, rows: int) -> int:
        """The time of the row at a place; after all times if there is none."""
        if place >= rows:
            return _FOR_EVER
        return self._number("SELECT event_time FROM rows ORDER BY event_time LIMIT 1 OFFSET ?", [place])

    def _number(self, query: str, parameters: Any = None) -> int:
        return int(self._row(query, parameters)[0])

    def _row(self, query: str, parameters: Any = None) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = self._sql.execute(query, parameters).fetchone()
        assert found is not None
        return found
