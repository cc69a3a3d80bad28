"""Checks the scorer's dead letters: events that were answered by a letter, as they could not be scored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import Record
from streams.definitions.pipeline import Model
from streams.plan.model import PipelinePlan
from verify.check_predictions import model_vectors
from verify.dead_letters import ALWAYS_FITS, read_letter
from verify.emissions import first_emissions
from verify.findings import Findings
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Position, Published
from verify.replays import replay_in

_SCORER = "score"
_FAILED, _NOT_A_NUMBER = _OUTCOMES = ("penstock.ModelFailed", "penstock.NotANumber")


@dataclass
class UnscoredFindings(Findings):
    """The events that have a letter in place of a prediction; ``unchecked`` says in words what could not be checked."""

    positions: set[Position] = field(default_factory=set)
    unchecked: list[str] = field(default_factory=list)


def check_unscored(
    plan: PipelinePlan,
    model: Model,
    features: Sequence[Published],
    letters: Iterable[Record],
    unreadable: Collection[str],
    scorers: Callable[[Published | None], Sequence[Scorer]],
    replayed: Collection[str] = (),
) -> UnscoredFindings:
    """Check each of the scorer's letters: of one event's first feature record, and for a reason that is true.

    Args:
        plan: The pipeline's plan.
        model: Its model.
        features: The feature records of events.
        letters: The dead letters of the predictions topic.
        unreadable: The places (``features[partition]@offset``) of records that cannot be decoded.
        scorers: Gives each way that the score of a feature record may have come about: in a rollout that of the
            champion's version, else of every version of the model with these inputs that the repository has, of a
            cascade also each pair of versions with a band. Called with None for a record that a replay has refused
            again: nothing says under which policy.
        replayed: The places of the letters that were replayed: another record answers their events.
    """
    findings = UnscoredFindings()
    topic = dead_letters_of(f"predictions.{plan.pipeline}")
    first = {Position(record.partition, record.offset): record for record in first_emissions(features).values()}
    for record in letters:
        place = f"predictions.dlq[{record.partition}]@{record.offset}"
        try:
            letter = read_letter(record)
        except ValueError as error:
            findings.mismatch(f"{place}: is not a dead letter: {error}")
            continue
        if letter.topic != plan.features_topic:
            continue  # the drift app's, of a prediction
        scored = first.get(letter.position)
        is_replayed = f"{topic}[{record.partition}]@{record.offset}" in replayed
        if letter.stage != _SCORER:
            # A scorer that knew fewer schemas may have refused what can be read now.
            is_unreadable = f"features[{letter.position.partition}]@{letter.position.offset}" in unreadable
            if not (is_unreadable or is_replayed):
                findings.mismatch(f"{place}: the feature record at {letter.position} can be read")
        elif scored is None:
            findings.mismatch(f"{place}: there is no event's first feature record at {letter.position}")
        elif scored.position in findings.positions:
            findings.mismatch(f"{place}: event {scored.position} has a letter already")
        else:
            if not is_replayed:
                findings.positions.add(scored.position)
            try:
                is_again = replay_in(letter.own_headers) is not None
                ways = partial(scorers, None if is_again else scored)
                is_true = _is_true(plan, model, scored, letter.reason, ways)
            except CannotBeAsked as error:
                findings.unchecked.append(f"{place}: whether {letter.reason} is true: {error}")
                continue
            if not is_true:
                findings.mismatch(f"{place}: {letter.reason} is not true of event {scored.position}")
    return findings


def _is_true(
    plan: PipelinePlan, model: Model, record: Published, reason: str, scorers: Callable[[], Sequence[Scorer]]
) -> bool:
    """Whether the model that decides gives no number for the record, or the prediction is too long, as the letter says.

    Raises:
        CannotBeAsked: if only a server could tell, or the model's inputs are not all on the record.
    """
    if reason == "penstock.TooLarge":
        parts = (record.value[view.name] for view in plan.views)
        names = [record.value["event_id"], *(part["entity"] for part in parts if part is not None)]
        return sum(len(name.encode()) for name in names) + len(record.key or b"") >= ALWAYS_FITS // 2
    if reason not in _OUTCOMES:
        return False
    if others := [name for name in model.inputs if ":" in name]:
        raise CannotBeAsked(f"a letter has no inputs of other pipelines, such as {others[0]}")
    vector = model_vectors(model, [record.value], 1)
    refused: CannotBeAsked | None = None
    for score in scorers():
        try:
            if _outcome(score, vector) == reason:
                return True
        except CannotBeAsked as error:
            refused = error
    if refused is not None:
        raise refused
    return False


def _outcome(score: Scorer, vector: npt.NDArray[np.float32]) -> str | None:
    """The reason for which a model does not score a vector; None if it does.

    Raises:
        CannotBeAsked: if only a server has it, and gives no scores.
    """
    try:
        return None if np.isfinite(score(vector)[:, 0]).all() else _NOT_A_NUMBER
    except CannotBeAsked:
        raise
    except Exception:  # noqa: BLE001 - a model may raise anything
        return _FAILED
