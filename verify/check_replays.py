"""Checks replayed dead letters: each record that a replay wrote is of a letter, true to it, and its only replay."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from penstock.kafka.reading import Record
from streams.plan.model import PipelinePlan
from verify.dead_letters import Letter, read_letter
from verify.findings import Findings
from verify.published import Position, Published
from verify.replays import Replayed, replay_in, replays_before, without_replay
from verify.run_data import RunData


@dataclass
class ReplayFindings(Findings):
    """The places of the letters that were replayed."""

    replayed: set[str] = field(default_factory=set)


class _Kept(NamedTuple):
    """A letter and its record."""

    letter: Letter
    record: Record


class _Claim(NamedTuple):
    """A record that says that it replays a letter, and whether it can be that letter's replay."""

    where: str
    replay: Replayed
    is_of: Callable[[_Kept], bool]


def check_replays(plan: PipelinePlan, predictions_letters: str, run: RunData) -> ReplayFindings:
    """Check what replays wrote: raw records put back, predictions, and new letters.

    A replay whose letter its topic has deleted cannot be checked.

    Args:
        plan: The pipeline's plan.
        predictions_letters: The dead-letter topic of the predictions.
        run: What the run left.
    """
    features_letters = f"{plan.features_topic}.dlq"
    topics = {f"{source.topic}.dlq": of for source, of in zip(plan.sources, run.dead_letters, strict=True)}
    topics |= {features_letters: run.unpublished, predictions_letters: run.unscored}
    findings = ReplayFindings()
    letters = _letters(topics)
    begin = {(topic, record.partition): record.offset for topic, of in topics.items() for record in reversed(of)}
    raw = {source.topic for source in plan.sources}
    for where, replay, is_of in (
        *_put_back(plan, run.sources),
        *_refused_again(letters, raw, features_letters),
        *_predicted(run.predictions, features_letters),
    ):
        found = letters.get(replay.of)
        if found is None:
            if not _was_deleted(replay.of, begin, topics):
                findings.mismatch(f"{where}: replays {replay.of}, which is no dead letter")
            continue
        if replay.of in findings.replayed:
            findings.mismatch(f"{where}: replays {replay.of}, which was replayed before")
        elif replay.count != replays_before(found.letter.own_headers, found.letter.component, replay.of) + 1:
            findings.mismatch(f"{where}: says that it is replay {replay.count} of {replay.of}")
        elif not is_of(found):
            findings.mismatch(f"{where}: is not of the record of {replay.of}, which it replays")
        findings.replayed.add(replay.of)
    return findings


def _put_back(plan: PipelinePlan, sources: Sequence[Sequence[Record]]) -> Iterator[_Claim]:
    for source, records in zip(plan.sources, sources, strict=True):
        for record in records:
            replay = replay_in(record.headers)
            if replay is not None:
                where = f"{source.topic}[{record.partition}]@{record.offset}"
                yield _Claim(where, replay, partial(_is_put_back, source.topic, record))


def _refused_again(letters: Mapping[str, _Kept], raw: Container[str], features_letters: str) -> Iterator[_Claim]:
    for where, kept in letters.items():
        replay = replay_in(kept.letter.own_headers)
        if replay is None:
            continue
        # The letter of a raw event that was put back has that event's headers, and replays nothing itself. One of an
        # event that could not be put back is of the same record as the letter that it names.
        named = letters.get(replay.of)
        is_kept_again = named is not None and _origin(features_letters, named) == _origin(features_letters, kept)
        if is_kept_again or kept.letter.topic not in raw:
            yield _Claim(where, replay, partial(_is_about, features_letters, _origin(features_letters, kept)))


def _predicted(predictions: Sequence[Published], features_letters: str) -> Iterator[_Claim]:
    for prediction in predictions:
        if prediction.replayed is not None:
            value = prediction.value
            of = value["features_topic"], Position(value["features_partition"], value["features_offset"])
            where = prediction.place_in("predictions")
            yield _Claim(where, prediction.replayed, partial(_is_about, features_letters, of))


def _letters(topics: Mapping[str, Sequence[Record]]) -> dict[str, _Kept]:
    found = {}
    for topic, records in topics.items():
        for record in records:
            with suppress(ValueError):  # the checks of the letters report it
                found[f"{topic}[{record.partition}]@{record.offset}"] = _Kept(read_letter(record), record)
    return found


def _origin(features_letters: str, kept: _Kept) -> tuple[str, Position]:
    """The feature record that a letter is about: the letter itself, if the record was too long to be published."""
    letter, record = kept
    if letter.reason == "penstock.FeaturesTooLarge":
        return features_letters, Position(record.partition, record.offset)
    return letter.topic, letter.position


def _is_about(features_letters: str, origin: tuple[str, Position], kept: _Kept) -> bool:
    return _origin(features_letters, kept) == origin


def _is_put_back(topic: str, record: Record, found: _Kept) -> bool:
    letter, kept = found
    if (letter.topic, letter.position.partition) != (topic, record.partition):
        return False
    if letter.value_bytes is not None:  # the letter has an excerpt, and maybe neither key nor headers
        return (record.value or b"").startswith(kept.value or b"") and len(record.value or b"") == letter.value_bytes
    headers = without_replay(record.headers), without_replay(letter.own_headers)
    return (record.key, record.value, headers[0]) == (kept.key, kept.value, headers[1])


def _was_deleted(place: str, begin: Mapping[tuple[str, int], int], topics: Iterable[str]) -> bool:
    """Whether retention may have deleted the letter at a place."""
    topic, _, rest = place.partition("[")
    partition, _, offset = rest.partition("]@")
    if topic not in topics or not (partition.isdigit() and offset.isdigit()):
        return False
    first = begin.get((topic, int(partition)))
    return first is None or int(offset) < first
