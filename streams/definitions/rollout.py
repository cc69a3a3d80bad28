"""How rollouts of a pipeline's model are judged: the steps of a canary, and the guardrails that must hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from streams.definitions.base import Definition
from streams.definitions.windows import Duration, duration_text

PARTS = 10_000
"""A weight is a multiple of one part in so many."""


def parts_of(weight: float) -> int:
    """A weight in parts.

    >>> parts_of(0.05)
    500

    Raises:
        ValueError: if it is not between 0 and 1, or no whole number of parts.
    """
    parts = round(weight * PARTS) if 0 <= weight <= 1 else -1
    if not abs(weight * PARTS - parts) <= 1e-6:  # NaN compares as false
        raise ValueError(f"{weight:g} is no weight: it must be a multiple of {1 / PARTS:g} between 0 and 1")
    return parts


def refuse_booleans(value: object) -> object:
    """Refuse true and false, which pydantic takes as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("it must be a number")  # noqa: TRY004 - pydantic takes ValueError
    return value


def _in_parts(weight: float) -> float:
    return parts_of(weight) / PARTS


Weight = Annotated[float, BeforeValidator(refuse_booleans), AfterValidator(_in_parts)]


class Step(Definition):
    """A step of a canary.

    Args:
        weight: The share of entities that the candidate scores; 0 in a step in which it only scores in shadow.
        least_events: How many events must be judged before the next step.
        least_time: How long the step takes at least.
        most_time: After how long the canary pauses if there is too little evidence for the next step.
    """

    weight: Weight
    least_events: Annotated[int, BeforeValidator(refuse_booleans), Field(ge=1)]
    least_time: Duration
    most_time: Duration

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.least_time > self.most_time:
            least, most = duration_text(self.least_time), duration_text(self.most_time)
            raise ValueError(f"least_time {least} is longer than most_time {most}")
        return self


def check_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Check that weights rise.

    Raises:
        ValueError: if not.
    """
    weights = [step.weight for step in steps]
    if any(before >= after for before, after in pairwise(weights)):
        raise ValueError(f"weights must rise from step to step, got {', '.join(map(str, weights))}")
    return steps


def _step(weight: float, least_events: int, least_time: str, most_time: str) -> Step:
    return Step.model_validate(
        {"weight": weight, "least_events": least_events, "least_time": least_time, "most_time": most_time}
    )


DEFAULT_STEPS = (
    # At a base rate of 1 %, paired losses of 10,000 labelled events tell whether a candidate is 5 % worse. Labels are
    # late, so this step may take long.
    _step(0, 10_000, "1h", "7d"),
    _step(0.01, 2_000, "30m", "1d"),
    _step(0.05, 5_000, "1h", "1d"),
    _step(0.2, 20_000, "1h", "1d"),
    _step(0.5, 20_000, "1h", "1d"),
    _step(1, 20_000, "1h", "1d"),
)
"""The steps of a canary for which nobody declares any: in shadow, then 1, 5, 20, 50 and 100 %."""

Measure = Literal["errors", "latency", "decision_rate", "quality", "calibration", "fairness", "scores", "split"]


def _check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not (0 <= low < high and math.isfinite(high)):
        raise ValueError(f"{low:g} to {high:g} are no bounds: give a lower one from 0 on, and a greater upper one")
    return bounds


Bounds = Annotated[tuple[float, float], AfterValidator(_check_bounds)]

# The bounds that each measure can have.
_TAKES: Mapping[Measure, frozenset[str]] = {
    "errors": frozenset({"absolute"}),
    "latency": frozenset({"absolute", "relative"}),
    "decision_rate": frozenset({"absolute", "relative"}),
    "quality": frozenset({"absolute", "relative"}),
    "calibration": frozenset({"absolute", "relative"}),
    "fairness": frozenset({"relative"}),
    "scores": frozenset({"absolute", "relative"}),
    "split": frozenset(),
}


def _is_share_from_zero(bounds: tuple[float, float] | None) -> bool:
    return bounds is not None and bounds[0] == 0 and bounds[1] < 1


class Guardrail(Definition):
    """What a candidate must keep. It fails when it is surely outside of all bounds, and passes when surely within one.

    =============  ===================================================  ===================================
    measure        absolute                                             relative
    =============  ===================================================  ===================================
    errors         share of moments in which it gave no score in time
    latency        p99 of a call in ms                                  that / the champion's
    decision_rate  share of positive decisions                          that / the champion's
    quality        mean loss                                            that / the champion's
    calibration    mean score / share of positive labels                mean score / the champion's
    fairness                                                            decision_rate's, within each group
    scores         share of pairs of entities with the same score       that / the champion's
    split
    =============  ===================================================  ===================================

    ``split`` has no bounds: entities must fall into the arms by the policy's weights.

    Args:
        measure: What is measured.
        absolute: Between which values it must be.
        relative: Between which values its ratio to the champion's must be.
        awaited: Whether a rollout waits until it surely passes. Otherwise it can only stop one.
    """

    measure: Measure
    absolute: Bounds | None = None
    relative: Bounds | None = None
    awaited: bool = False

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        takes, given = _TAKES[self.measure], {"absolute", "relative"} & {*self.model_dump(exclude_none=True)}
        for name in sorted(given - takes):
            raise ValueError(f"{self.measure} takes no {name} bounds")
        if takes and not given:
            raise ValueError(f"{self.measure} needs bounds: {' or '.join(sorted(takes))}")
        if self.measure == "errors" and not _is_share_from_zero(self.absolute):
            raise ValueError(f"errors are allowed from 0 up to a share below 1, not from {self.absolute}")
        if self.measure == "split" and self.awaited:
            raise ValueError("split cannot be awaited: it only tells when something is wrong")
        return self


DEFAULT_GUARDRAILS = (
    Guardrail(measure="errors", absolute=(0, 0.01), awaited=True),
    Guardrail(measure="latency", relative=(0, 2), awaited=True),
    Guardrail(measure="decision_rate", relative=(0.5, 2), awaited=True),
    Guardrail(measure="quality", relative=(0, 1.05), awaited=True),
    Guardrail(measure="calibration", absolute=(0.8, 1.25), relative=(0.8, 1.25)),
    Guardrail(measure="fairness", relative=(0.5, 2)),
    Guardrail(measure="scores", absolute=(0, 0.5), relative=(0, 1.5)),
    Guardrail(measure="split"),
)
"""What is judged where nothing else is declared."""


class Rollout(Definition):
    """How rollouts of the pipeline's model are judged.

    Args:
        steps: The steps of a canary whose policy declares none.
        guardrails: Those that differ from :data:`DEFAULT_GUARDRAILS`; each replaces the default of its measure.
        without: Measures that are not judged.
        alpha: The probability that chance alone ever fails a candidate that keeps its bounds, for each guardrail.
        loss: By what quality is measured: ``brier`` (squared error of the score) or ``log``. A regression is always
            judged by its squared error.
        together: Calls within this time count as one. What makes a call fail or slow, makes its neighbours, too.
        entity_again: After which event time an entity counts again; None: once in a step. Events of one entity are
            alike, and tests take them as independent.
        reweight_every: How often the weights of a bandit follow its rewards.
        most_entities: How many entities, and how many calls, are remembered. With more, every second one is forgotten,
            chosen by hash, as often as needed.
    """

    steps: Annotated[tuple[Step, ...], Field(min_length=1), AfterValidator(check_steps)] = DEFAULT_STEPS
    guardrails: tuple[Guardrail, ...] = ()
    without: tuple[Measure, ...] = ()
    alpha: float = Field(default=0.01, gt=0, le=0.1)
    loss: Literal["brier", "log"] = "brier"
    together: Duration = 1_000
    entity_again: Duration | None = None
    reweight_every: Duration = 86_400_000
    most_entities: int = Field(default=100_000, ge=1_000, le=200_000)

    @property
    def judged(self) -> dict[Measure, Guardrail]:
        """The guardrails that hold, by their measure."""
        chosen = {each.measure: each for each in (*DEFAULT_GUARDRAILS, *self.guardrails)}
        return {measure: each for measure, each in chosen.items() if measure not in self.without}

    @model_validator(mode="before")
    @classmethod
    def _horizon_is_of_labels(cls, declared: Any) -> Any:
        if isinstance(declared, Mapping) and "label_horizon" in declared:
            raise ValueError("label_horizon is declared once, for all that reads labels: Labels(horizon=...)")
        return declared

    @model_validator(mode="after")
    def _measures_differ(self) -> Self:
        declared = [each.measure for each in self.guardrails]
        for measure in declared:
            if declared.count(measure) > 1:
                raise ValueError(f"guardrails: {measure} is declared twice")
            if measure in self.without:
                raise ValueError(f"guardrails: {measure} is declared, and left out by without")
        return self
