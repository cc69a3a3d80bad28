"""Drift monitors of a pipeline."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from penstock.kafka.names import PRODUCER_VERSION_HEADER
from streams.definitions.base import Definition

SCORE = "score"
"""The name of the monitor on the model's score; monitors on inputs have the names of the inputs."""

LABELS = "labels"
"""The name of the monitor on final labels, where `penstock quality run` reads them."""


class DataQuality(Definition):
    """Watch the raw events of all sources and labels, before the contract refuses any, for faults of their producers.

    ``producer_header`` is the header in which a record says which version of a producer wrote it; columns are then
    watched for each version by itself. With None, or where records lack it, all records are of one producer.
    """

    producer_header: str | None = Field(default=PRODUCER_VERSION_HEADER, min_length=1)


class Monitors(Definition):
    """The model inputs that are monitored for drift, whether the score is, and the rate of false alarms.

    ``inputs`` must be model inputs (``view.feature`` or ``event.column``), because they are compared with the training
    set. ``window`` is the number of a partition's latest records that are compared with it as a histogram.
    ``false_alarm_every`` is the expected number of events per false alarm, over all monitors, detectors and partitions
    together; training sets the detectors' thresholds accordingly. With ``same_hour_of_week`` a value is compared with
    those of training at the same hour of the week (UTC), so that daily and weekly rhythms are no drift; it takes four
    weeks of training data. With ``labels``, ``penstock quality run`` also watches whether final labels agree with the
    scores, with half of the budget. Its false alarms are as rare as that only if outcomes do not depend on each other
    beyond the scores: frauds that come in bursts do. ``data_quality`` watches raw events, too, with the same window,
    and with a budget of false alarms of its own that is as great.
    """

    inputs: tuple[str, ...] = ()
    score: bool = True
    window: int = Field(default=1_000, ge=100, le=100_000)
    false_alarm_every: int = Field(default=1_000_000, ge=10_000)
    same_hour_of_week: bool = False
    labels: bool = False
    data_quality: DataQuality | None = None

    def names(self) -> tuple[str, ...]:
        """The names of all monitors: the inputs in their order, then the score."""
        return (*self.inputs, SCORE) if self.score else self.inputs

    def check(self, model_inputs: Collection[str]) -> None:
        """Check that each monitored input is an input of the model, once.

        Raises:
            ValueError: for the first that is not.
        """
        if not self.names():
            raise ValueError("monitors: nothing is monitored; name inputs, or leave the score on")
        for name in self.inputs:
            if name not in model_inputs:
                raise ValueError(
                    f"monitors: {name!r} is not an input of the model, so there is nothing to compare with"
                )
            if self.inputs.count(name) > 1:
                raise ValueError(f"monitors: {name} is named twice")
