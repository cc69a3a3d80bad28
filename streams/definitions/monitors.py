"""What a pipeline watches for drift."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from streams.definitions.base import Definition

SCORE = "score"
"""The name of the monitor on the model's score; those on inputs are named as the inputs."""


class Monitors(Definition):
    """Which of the model's inputs are watched for drift, whether its score is, and how often a false alarm may come.

    ``inputs`` are model inputs (``view.feature`` or ``event.column``), since the training set is what they are
    compared with. ``window`` is how many of a partition's latest records are compared with it as a histogram.
    ``false_alarm_every`` is the number of events after which one false alarm may be expected, of all monitors and
    detectors on all partitions together: training chooses the detectors' thresholds by it.
    """

    inputs: tuple[str, ...] = ()
    score: bool = True
    window: int = Field(default=1_000, ge=100, le=100_000)
    false_alarm_every: int = Field(default=1_000_000, ge=10_000)

    def names(self) -> tuple[str, ...]:
        """All monitors: the inputs in their order, then the score."""
        return (*self.inputs, SCORE) if self.score else self.inputs

    def check(self, model_inputs: Collection[str]) -> None:
        """Check that the monitors can be compared with a training set of these inputs.

        Raises:
            ValueError: naming the first that cannot.
        """
        if not self.names():
            raise ValueError("monitors: nothing is watched; name inputs, or leave the score on")
        for name in self.inputs:
            if name not in model_inputs:
                raise ValueError(
                    f"monitors: {name!r} is not an input of the model, so there is nothing to compare with"
                )
            if self.inputs.count(name) > 1:
                raise ValueError(f"monitors: {name} is named twice")
