"""Checks scores: each is computed again from its vector, with the version that the prediction names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.counts import counted
from streams.definitions.pipeline import Model
from verify.findings import Findings
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Position, Published

_REASONS = 3

Scored = tuple[Published, npt.NDArray[np.float32]]
"""A prediction, and the vector that should have been scored."""


@dataclass
class ScoreFindings(Findings):
    """What is wrong with predictions; ``unchecked`` says in words what could not be checked."""

    unchecked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ScoreCheck:
    """How the scores of one model are judged.

    Args:
        model: The definition, also if the scores are those of its strong model.
        policy: The definition's policy version: decisions under another one are not checked.
        scorer_of: From a version to its scores. It may raise anything; after :class:`~verify.hosted.CannotBeAsked` the
            scores are not checked.
        tolerance_of: From a version to how much a score may differ, absolutely or relatively.
        contributions_of: From a version to by how much each input moves a score, None if it cannot tell.
        explored: The events whose decision does not follow from the score.
        topic: What messages call the topic of the predictions.
    """

    model: Model
    policy: str
    scorer_of: Callable[[str], Scorer]
    tolerance_of: Callable[[str], float]
    contributions_of: Callable[[str], Scorer | None]
    explored: Collection[Position] = frozenset()
    topic: str = "predictions"

    def check(self, predictions: Sequence[Scored], findings: ScoreFindings) -> list[Scored]:
        """Check vectors, scores, outputs, decisions and reasons; returns those that their version can score."""
        found = []
        for version in sorted({prediction.value["model_version"] for prediction, _ in predictions}):
            pairs = [(p, vector) for p, vector in predictions if p.value["model_version"] == version]
            vectors = np.array([vector for _, vector in pairs], np.float32)
            try:
                scores, why = _scores(self.scorer_of, version, vectors)
            except CannotBeAsked as error:
                findings.unchecked.append(
                    f"the scores of {counted(len(pairs), 'prediction')} by version {version}: {error}"
                )
                scores, why = [[p.value["score"], *_outputs(p)] for p, _ in pairs], ""
            if scores is None:
                for prediction, _ in pairs:
                    where = prediction.place_in(self.topic)
                    findings.mismatch(f"{where}: model version {version} cannot score these vectors: {why}")
                continue
            found += pairs
            tolerance = self.tolerance_of(version)
            for (prediction, vector), numbers in zip(pairs, scores, strict=True):
                for wrong in self._wrong_in(prediction, vector, numbers, tolerance):
                    findings.mismatch(f"{prediction.place_in(self.topic)}: {wrong}")
            for prediction, wrong in self._wrong_reasons(pairs, vectors, self.contributions_of(version)):
                findings.mismatch(f"{prediction.place_in(self.topic)}: {wrong}")
        return found

    def _wrong_in(
        self, prediction: Published, vector: npt.NDArray[np.float32], numbers: Sequence[float], tolerance: float
    ) -> Iterator[str]:
        """What is wrong with a prediction, of which the vector and the version's numbers should be these."""
        value, (score, *outputs) = prediction.value, numbers
        version = value["model_version"]
        if value["vector"] != vector.astype("<f4").tobytes():
            yield "the vector is not that of its feature record"
        if not abs(value["score"] - score) <= tolerance * max(1, abs(score)):
            yield f"score {value['score']}, version {version} says {score}"
        published = _outputs(prediction)
        if len(published) != len(outputs) or not np.allclose(published, outputs, tolerance, tolerance, equal_nan=True):
            yield f"outputs {published}, version {version} says {outputs}"
        if value["policy_version"] == self.policy and prediction.position not in self.explored:
            decision = self.model.positive if value["score"] >= self.model.threshold else self.model.negative
            if value["decision"] != decision:
                yield f"decision {value['decision']!r} does not follow from the score"

    def _wrong_reasons(
        self, pairs: Sequence[Scored], vectors: npt.NDArray[np.float32], contributions_of: Scorer | None
    ) -> Iterator[tuple[Published, str]]:
        """The predictions whose reasons are not the three greatest contributions to a positive or an audited score."""
        inputs = self.model.inputs
        judged = [row for row, (p, _) in enumerate(pairs) if p.value["policy_version"] == self.policy]
        if not judged:
            return
        found = np.zeros((len(judged), len(inputs))) if contributions_of is None else contributions_of(vectors[judged])
        for row, contributions in zip(judged, found.tolist(), strict=True):
            prediction = pairs[row][0]
            value = prediction.value
            pushed = [one for one in sorted(contributions, reverse=True)[:_REASONS] if one > 0]
            is_explained = value["score"] >= self.model.threshold or (value.get("cascade") or {}).get("audited", False)
            expected = pushed if is_explained else []
            reasons = [(reason["input"], reason["contribution"]) for reason in value["reasons"]]
            own = [contributions[inputs.index(name)] if name in inputs else np.nan for name, _ in reasons]
            rounding = 1e-5 * max(1, *map(abs, contributions))
            if (
                len(reasons) != len(expected)
                or len({name for name, _ in reasons}) < len(reasons)
                or not np.allclose([one for _, one in reasons], expected, rtol=1e-4, atol=rounding)
                or not np.allclose(own, expected, rtol=1e-4, atol=rounding)
            ):
                yield prediction, f"reasons {reasons}, should be the inputs that contribute {expected}"


def _scores(
    scorer_of: Callable[[str], Scorer], version: str, vectors: npt.NDArray[np.float32]
) -> tuple[list[list[float]] | None, str]:
    """What a model version returns; None and the reason if it returns nothing.

    Raises:
        CannotBeAsked: if only a server has its model, and gives none.
    """
    if not version.isdigit():
        return None, "its version is not a number"
    try:
        return scorer_of(version)(vectors).tolist(), ""
    except CannotBeAsked:
        raise
    except Exception as error:  # noqa: BLE001 - a model file may hold anything
        return None, str(error)


def _outputs(prediction: Published) -> list[float]:
    return [output["value"] for output in prediction.value["outputs"]]
