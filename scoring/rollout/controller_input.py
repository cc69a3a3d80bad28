"""Reads what a rollout controller consumes as observations of its judge: many records at once, only the fields needed.

A record that cannot be read is passed over. Each says where it is and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from schemas.codec import Registry, Undecodable, UnknownSchema
from schemas.columns import ColumnReader, Columns, Mask
from schemas.dead_letters import DeadLetter, is_replayed
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from scoring.inference import FALLBACK, PRIMARY
from scoring.rollout.assignment import assign
from scoring.rollout.controller_labels import LabelReader
from scoring.rollout.controller_records import Message, Unreadable, place
from scoring.rollout.facts import Facts
from scoring.rollout.observations import Label, Letter, Live, Shadow
from scoring.rollout.policy import PublishedPolicy
from streams.plan.project import Project

SHADOW, DEAD_LETTER = "shadow", "dead_letter"
# The reasons of dead letters that are the fault of the version that should have scored; the others are of records that
# cannot be read, or of a prediction that is too long.
_FAILURES = ("penstock.ModelFailed", "penstock.NotANumber")
_FLOAT_BYTES = 4
# Of a version, which may be anything in a record that no scorer has written.
_MOST_DIGITS = 19
_MOST_OFFSET = 2**63 - 1


class Observed(NamedTuple):
    """What a batch of records says.

    Args:
        live: Predictions that were served.
        shadow: Predictions that were not.
        letters: Events that their arm had no number for.
        labels: What became known of events.
        passed: The records that could not be read.
    """

    live: list[Live]
    shadow: list[Shadow]
    letters: list[Letter]
    labels: list[Label]
    passed: list[Unreadable]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing for the judge."""
        return not (self.live or self.shadow or self.letters or self.labels)

    def routes(self, published: PublishedPolicy) -> Counter[tuple[str, str]]:
        """How many events each arm of a policy has answered, by route; a dead letter counts as a route."""
        counts = Counter((one.arm, FALLBACK if one.is_fallback else PRIMARY) for one in self.live)
        counts[SHADOW, PRIMARY] += len(self.shadow)
        if self.letters:
            arms = published.policy.arms
            assigned = assign(published, [one.entity for one in self.letters], [one.event_id for one in self.letters])
            counts.update((arms[place].name, DEAD_LETTER) for place in assigned.arms.tolist())
        return +counts


class InputReader:
    """Reads all topics of a controller but the log.

    Args:
        project: The pipeline.
        facts: What the judge knows of it.
        registry: Finds the schemas of Confluent-framed labels; without one such labels cannot be read.
    """

    def __init__(self, project: Project, facts: Facts, registry: Registry | None = None) -> None:
        pipeline = self._pipeline = project.pipeline
        self._predictions = PredictionReader(facts.places, facts.hidden_by)
        self._letters = LetterReader(project)
        self._labels = None if pipeline.labels is None else LabelReader(pipeline.labels, project, registry)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it reads, labels last."""
        pipeline = self._pipeline
        predictions = pipeline.predictions_topic, pipeline.shadow_topic, dead_letters_of(pipeline.predictions_topic)
        return predictions if pipeline.labels is None else (*predictions, *pipeline.labels.topics)

    def read(self, messages: Mapping[str, Sequence[Message]], versions: Collection[str]) -> Observed:
        """What the records of each topic say.

        Args:
            messages: The records, by topic.
            versions: Of which policies predictions are wanted.

        Raises:
            PenstockError: if the schema registry cannot be reached.
        """
        predictions, shadow, letters = self.topics[:3]
        passed: list[Unreadable] = []
        return Observed(
            self._predictions.live(predictions, messages.get(predictions, ()), versions, passed),
            self._predictions.shadow(shadow, messages.get(shadow, ()), versions, passed),
            self._letters.read(letters, messages.get(letters, ()), passed),
            [] if self._labels is None else self._labels.read(messages, passed),
            passed,
        )


class PredictionReader:
    """Reads predictions and shadow predictions.

    Args:
        places: The places of the judge's groups in the vector.
        hidden_by: The decision that hides the outcome; None if there is none.
    """

    def __init__(self, places: Sequence[int], hidden_by: str | None = None) -> None:
        self._places = np.array(places, np.intp)
        self._hidden_by = hidden_by
        self._columns = ColumnReader(PREDICTION_SCHEMA)
        self._decoder = record_decoder("prediction")

    def live(
        self, topic: str, messages: Sequence[Message], versions: Collection[str], passed: list[Unreadable]
    ) -> list[Live]:
        """The predictions under these versions of policies; adds those that cannot be read to ``passed``.

        Without those of replays: nobody waited for them, and nothing has scored them in shadow.
        """
        answers = [message for message in messages if not is_replayed(message.headers() or ())]
        return self._read(topic, answers, versions, passed, self._live_rows, self._live)

    def shadow(
        self, topic: str, messages: Sequence[Message], versions: Collection[str], passed: list[Unreadable]
    ) -> list[Shadow]:
        """The same of predictions that nobody was served."""
        return self._read(topic, messages, versions, passed, _shadow_rows, _shadow)

    def _read(
        self,
        topic: str,
        messages: Sequence[Message],
        versions: Collection[str],
        passed: list[Unreadable],
        rows_of: Callable[[Columns, Mask], list[Any]],
        one_of: Callable[[dict[str, Any]], Any],
    ) -> list[Any]:
        """Those in columns first, then those of other schemas; the judge takes them in any order."""
        values = [message.value() or b"" for message in messages]
        if not values:
            return []
        columns = self._columns.locate(values)
        wanted = np.zeros(len(values), np.bool_)
        for version in versions:
            wanted |= columns.equals("rollout.policy", version)
        found = rows_of(columns, wanted & columns.plain)
        for row in np.flatnonzero(~columns.plain).tolist():
            where = place(topic, messages[row])
            try:
                record = self._decoder.decode(values[row], where)
            except (Undecodable, UnknownSchema) as error:
                passed.append(Unreadable(topic, where, error.what))
                continue
            if record["rollout"] is not None and record["rollout"]["policy"] in versions:
                found.append(one_of(record))
        return found

    def _live_rows(self, columns: Columns, wanted: Mask) -> list[Live]:
        rows = np.flatnonzero(wanted).tolist()
        vectors = columns.text_bytes("vector") if len(self._places) else None
        groups = [()] * len(rows) if vectors is None else self._groups([vectors[row] or b"" for row in rows])
        seen, is_fallback = _Columns(columns), columns.equals("route", FALLBACK).tolist()
        hides = [False] * len(is_fallback)
        if self._hidden_by is not None:
            hides = columns.equals("decision", self._hidden_by).tolist()
        return [
            Live(
                **seen.row(row),
                arm=seen.arm[row],
                is_fallback=is_fallback[row],
                scored_at_ms=seen.scored_at[row],
                groups=of_groups,
                is_hidden=hides[row],
            )
            for row, of_groups in zip(rows, groups, strict=True)
        ]

    def _live(self, record: dict[str, Any]) -> Live:
        return Live(
            **_row_of(record),
            arm=record["rollout"]["arm"],
            is_fallback=record["route"] == FALLBACK,
            scored_at_ms=record["scored_at"],
            groups=self._groups([record["vector"]])[0],
            is_hidden=record["decision"] == self._hidden_by,
        )

    def _groups(self, vectors: Sequence[bytes]) -> list[tuple[float, ...]]:
        """The inputs that are groups; NaN where a vector, of another version's inputs, is too short."""
        lengths = set(map(len, vectors))
        if len(lengths) != 1:
            return [self._groups([vector])[0] for vector in vectors]
        inputs = lengths.pop() // _FLOAT_BYTES
        packed = np.frombuffer(b"".join(vectors), "<f4", len(vectors) * inputs).reshape(-1, inputs)
        found = np.full((len(vectors), len(self._places)), np.nan)
        has = self._places < inputs
        found[:, has] = packed[:, self._places[has]]
        return list(map(tuple, found.tolist()))


class _Columns:
    """What live and shadow predictions have, as lists of one value for each record."""

    def __init__(self, columns: Columns) -> None:
        self.partition = columns.integers("features_partition").tolist()
        self.offset = columns.integers("features_offset").tolist()
        self.event_id = [event_id or "" for event_id in columns.texts("event_id")]  # never null
        self.entity = columns.texts("entity")
        self.event_time = columns.integers("event_time").tolist()
        self.policy = [policy or "" for policy in columns.texts("rollout.policy")]
        self.arm = [arm or "" for arm in columns.texts("rollout.arm")]
        self.score = columns.numbers("score").tolist()
        self.infer_ms = columns.numbers("rollout.infer_ms").tolist()
        self.scored_at = columns.integers("scored_at").tolist()
        self._own, self._fast = columns.texts("model_version"), columns.texts("cascade.fast_version")

    def row(self, row: int) -> dict[str, Any]:
        """What both kinds say of a record."""
        return {
            "partition": self.partition[row],
            "offset": self.offset[row],
            "event_id": self.event_id[row],
            "entity": self.entity[row],
            "event_time_ms": self.event_time[row],
            "policy": self.policy[row],
            "version": _version(self._fast[row] or self._own[row] or ""),
            "score": self.score[row],
            "infer_ms": self.infer_ms[row],
        }


def _row_of(record: dict[str, Any]) -> dict[str, Any]:
    """The same of a record that is decoded. Of a cascade, the version is the fast model's, whoever decided."""
    rollout, cascade = record["rollout"], record["cascade"]
    return {
        "partition": record["features_partition"],
        "offset": record["features_offset"],
        "event_id": record["event_id"],
        "entity": record["entity"],
        "event_time_ms": record["event_time"],
        "policy": rollout["policy"],
        "version": _version(record["model_version"] if cascade is None else cascade["fast_version"]),
        "score": record["score"],
        "infer_ms": rollout["infer_ms"],
    }


def _shadow_rows(columns: Columns, wanted: Mask) -> list[Shadow]:
    seen = _Columns(columns)
    return [Shadow(**seen.row(row)) for row in np.flatnonzero(wanted).tolist()]


def _shadow(record: dict[str, Any]) -> Shadow:
    return Shadow(**_row_of(record))


@lru_cache(maxsize=1_024)
def _version(text: str) -> int:
    is_number = text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else 0  # none of a policy's


class LetterReader:
    """Reads the dead letters of the scorer.

    Args:
        project: The pipeline.
    """

    def __init__(self, project: Project) -> None:
        self._topic = project.pipeline.features_topic
        self._partitions = project.pipeline.source.partitions
        self._first_view = project.pipeline.views[0].name
        self._decoder = project.features_decoder()

    def read(self, topic: str, messages: Sequence[Message], passed: list[Unreadable]) -> list[Letter]:
        """The letters of events that a version failed on; adds those that cannot be read to ``passed``."""
        found = []
        for message in messages:
            where = place(topic, message)
            try:
                letter = DeadLetter.read(message.key(), message.value(), message.headers())
                if letter.topic != self._topic or letter.reason not in _FAILURES:
                    continue
                if not (0 <= letter.partition < self._partitions and 0 <= letter.offset <= _MOST_OFFSET):
                    raise ValueError(f"{letter.topic}[{letter.partition}]@{letter.offset} is no place of a record")  # noqa: TRY301
                record = self._decoder.decode(letter.value or b"", where)
            except (ValueError, Undecodable, UnknownSchema) as error:
                passed.append(Unreadable(topic, where, error.what if isinstance(error, PenstockError) else str(error)))
                continue
            view = record[self._first_view]
            entity = None if view is None else view["entity"]
            found.append(
                Letter(letter.partition, letter.offset, record["event_id"], entity, max(0, message.timestamp()[1]))
            )
        return found
