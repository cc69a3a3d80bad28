"""What the judge of rollouts must know of a pipeline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from scoring.label_maturity import ANY_AGE, Maturity
from streams.definitions.labels import Task
from streams.definitions.pipeline import Pipeline
from streams.definitions.rollout import Rollout


@dataclass(frozen=True)
class Facts:
    """What the judge must know of a pipeline.

    Attributes:
        rollout: How its rollouts are judged.
        threshold: A decision is positive if its score is at least this.
        groups: The declared groups that are inputs of the model, and so are in the vector of each prediction.
        places: The place of each of them in the vector.
        task: What labels are; None without labels.
        maturity: When they are final, and what no label means then.
        hidden_by: The decision after which nobody can see the outcome; None: there is none.
        sources: The topics of labels in their order, if there are several.
    """

    rollout: Rollout
    threshold: float
    groups: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    task: Task | None = None
    maturity: Maturity = ANY_AGE
    hidden_by: str | None = None
    sources: tuple[str, ...] = ()

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """The facts of a pipeline."""
        model, labels = pipeline.model, pipeline.labels
        groups = tuple(name for name in model.groups if name in model.inputs)
        return cls(
            pipeline.rollout,
            model.threshold,
            groups,
            tuple(map(model.inputs.index, groups)),
            None if labels is None else labels.task,
            ANY_AGE if labels is None else Maturity.of(labels),
            None if labels is None else labels.hidden_by,
            labels.topics if labels is not None and labels.otherwise else (),
        )
