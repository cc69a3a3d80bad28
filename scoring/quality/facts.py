"""What the counting of a pipeline's quality depends on. Pure."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from dataclasses import asdict, dataclass
from functools import cached_property
from math import exp
from typing import Self

from penstock.errors import PenstockError
from scoring.decision import Policy
from scoring.quality.e_detector import ODDS
from scoring.quality.label_watch import TOLERANCE
from streams.definitions.labels import Absent
from streams.definitions.pipeline import Pipeline

# Evenly spaced in the logit, because scores of rare classes are small: a tenth, or a hundredth, is as fine as a half.
# They reach down to 3e-7: where one in 10,000 is positive, edges down to 1e-4 alone lost a tenth of the AUC. Not
# quantiles of a reference: histograms of several versions then could not be added, and quantiles are coarse among the
# few high scores.
_STEPS, _STEPS_PER_LOGIT = 75, 5


@dataclass(frozen=True)
class QualityFacts:
    """What is counted, and how. If any of it changes, everything is counted anew.

    Attributes:
        model: The name of the pipeline's model.
        threshold: A score of at least this is positive; it is an edge of a bin.
        positive: The decision for such a score.
        policy: The version of threshold and decisions that the definition declares.
        positive_class: Of several classes, the one whose probability is the score.
        horizon_ms: When, after its event, a label is final.
        absent: What no label means then.
        hidden_by: The decision after which no outcome is seen.
        groups: The declared groups that are inputs of the model.
        places: The place of each of them in the vector of a prediction.
        false_alarm_every: The events for each false alarm that the monitors allow; None if they do not watch labels.
        sources: The topics of labels in their order, if there are several.
        scored: The topics whose events are scored, if there are several and the monitors watch labels: an alarm names
            the topic of its event.
    """

    model: str
    threshold: float
    positive: str
    policy: str
    positive_class: str | None
    horizon_ms: int
    absent: Absent | None
    hidden_by: str | None
    groups: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    false_alarm_every: int | None = None
    sources: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """The facts of a pipeline.

        Raises:
            PenstockError: if its labels do not say when they are final, or are values.
        """
        labels, model, name, monitors = pipeline.labels, pipeline.model, pipeline.name, pipeline.monitors
        if labels is None:
            raise PenstockError(f"pipeline {name} has no labels", next="declare Pipeline(labels=Labels(...))")
        if labels.task == "regression":
            raise PenstockError(
                f"labels of pipeline {name} are values: the histograms are of scores of two classes",
                next="penstock model check PIPELINE --backfill FOLDER, whose gates know the losses of values",
            )
        if labels.horizon is None:
            raise PenstockError(
                f"labels of pipeline {name} have no horizon: nobody knows when one is final, and predictions would "
                "wait for theirs for ever",
                next="declare Labels(horizon=...), after which no label comes",
            )
        watches = monitors is not None and monitors.labels
        scored = tuple(source.topic for source in pipeline.sources if source.triggers)
        groups = tuple(one for one in model.groups if one in model.inputs)
        return cls(
            model=model.name,
            threshold=model.threshold,
            positive=model.positive,
            policy=Policy.of(model).version,
            positive_class=None if labels.positive is None else str(labels.positive),
            horizon_ms=labels.horizon,
            absent=labels.absent,
            hidden_by=labels.hidden_by,
            groups=groups,
            places=tuple(map(model.inputs.index, groups)),
            false_alarm_every=monitors.false_alarm_every if monitors is not None and watches else None,
            sources=labels.topics if labels.otherwise else (),
            scored=scored if watches and len(scored) > 1 else (),
        )

    @cached_property
    def edges(self) -> tuple[float, ...]:
        """Where the bins of scores meet: 1 / (1 + exp(-n / 5)) for n from -75 to 75, and the threshold."""
        steps = range(-_STEPS, _STEPS + 1)
        return tuple(sorted({*(1 / (1 + exp(-n / _STEPS_PER_LOGIT)) for n in steps), self.threshold}))

    def bin_of(self, score: float) -> int:
        """The bin of a score: bin n has the scores from edge n - 1 up to, and without, edge n."""
        return bisect_right(self.edges, score)

    @property
    def first_positive(self) -> int:
        """The first bin whose scores are positive."""
        return self.bin_of(self.threshold)

    @property
    def hides_positive(self) -> bool:
        """Whether a positive decision hides the outcome."""
        return self.hidden_by == self.positive

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits: the same if, and only if, the same is counted."""
        facts = asdict(self)
        for option in ("sources", "scored"):
            if not facts[option]:
                del facts[option]  # an option that is not used changes nothing that is counted
        content = json.dumps([facts, self.edges, ODDS, TOLERANCE], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]
