"""The parts of a pipeline: which it has by its definition, and how each is started. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from penstock.errors import PenstockError
from penstock.kafka.names import group_of
from streams.definitions.pipeline import Pipeline

Need = Literal["model", "loaded model", "policy", "profile"]
"""What a part waits for: a version of the model, one that the model server has loaded, the policy of a rollout, or a
profile of the raw events."""

FEATURES = "features"
# A service finishes its batch, and may wait for a transaction (30 s); a savepoint of much state takes minutes.
_SERVICE_S, _JOB_S = 40.0, 330.0
# Stopped in this order: what judges goes first, so that it sees nobody stop, and with it the gateway, so that those who
# wait get their answers. Then with the flow of events.
_JUDGES, _JOB, _SCORER, _SINKS = range(4)


@dataclass(frozen=True)
class Part:
    """A part of a pipeline.

    Args:
        name: As in its consumer group, its metrics and ``--without``.
        command: Its command of ``penstock``, complete but for the port of its metrics.
        stage: Parts of a lower stage are stopped first.
        needs: What must be there before it can start.
        has_metrics: Whether it serves metrics.
        grace_s: How long it may take to stop.
    """

    name: str
    command: tuple[str, ...]
    stage: int
    needs: Need | None = None
    has_metrics: bool = True
    grace_s: float = _SERVICE_S

    def arguments(self, port: int | None) -> tuple[str, ...]:
        """The arguments of ``penstock``, with metrics on a port."""
        return self.command if port is None else (*self.command, "--metrics-port", str(port))


@dataclass(frozen=True)
class Asking:
    """How the gateway answers: the decision where no prediction comes in time, and the port that callers ask."""

    fallback: str
    port: int


def parts_of(
    pipeline: Pipeline, reference: str, without: Collection[str] = (), asking: Asking | None = None
) -> list[Part]:
    """The parts of a pipeline in the order in which they are started, without some; a gateway only with ``asking``.

    Raises:
        PenstockError: if the pipeline has no part of a name in ``without``, nothing is left, or its events have no id
            by which a gateway could find their answers.
    """
    parts = [
        Part(FEATURES, ("job", "run", reference), _JOB, has_metrics=False, grace_s=_JOB_S),
        Part("sink-redis", ("sink", "run", "redis", reference), _SINKS),
        Part("sink-cassandra", ("sink", "run", "cassandra", reference), _SINKS),
        Part("scorer", ("scorer", "run", reference), _SCORER, needs="loaded model"),
    ]
    if pipeline.monitors is not None:
        parts.append(Part("drift", ("drift", "run", reference), _JUDGES, needs="model"))
        if pipeline.monitors.data_quality is not None:
            parts.append(Part("data-quality", ("data-quality", "run", reference), _JUDGES, needs="profile"))
    labels = pipeline.labels
    if labels is not None and labels.horizon is not None and labels.task != "regression":
        parts.append(Part("quality", ("quality", "run", reference), _JUDGES, needs="model"))
    parts.append(Part("rollout", ("rollout", "controller", "run", reference), _JUDGES, needs="policy"))
    if pipeline.monitors is not None:
        watch = ("incidents", "watch", reference, "--every", "1m")
        parts.append(Part("incidents", watch, _JUDGES, needs="model", has_metrics=False))
    if asking is not None:
        if pipeline.source.event_id is None:
            raise PenstockError(
                f"contract {pipeline.source.contract.contract_name} has no event id, by which answers are found",
                where=reference,
                safe="nothing was started",
                next="run without --gateway, or mark a field with EVENT_ID in a new version of the contract",
            )
        command = ("gateway", "run", reference, "--fallback", asking.fallback, "--port", str(asking.port))
        parts.append(Part("gateway", command, _JUDGES))
    names = [part.name for part in parts]
    if unknown := sorted(set(without) - set(names)):
        raise PenstockError(
            f"the pipeline has no part {', '.join(unknown)}",
            where=reference,
            safe="nothing was started",
            next=f"name some of its parts: {', '.join(names)}",
        )
    left = [part for part in parts if part.name not in without]
    if not left:
        raise PenstockError("no part is left to run", where=reference, next="leave out fewer with --without")
    return left


def groups_of(pipeline: Pipeline) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The consumer group and the topics of each part that commits how far it has come, by the part's name."""
    features, predictions = pipeline.features_topic, pipeline.predictions_topic
    read = {
        FEATURES: tuple(source.topic for source in pipeline.sources),
        "sink-redis": (features,),
        "sink-cassandra": (features, predictions),
        "scorer": (features,),
    }
    if pipeline.monitors is not None:
        read["drift"] = (features, predictions)
        if pipeline.monitors.data_quality is not None:
            labels = () if pipeline.labels is None else pipeline.labels.topics
            read["data-quality"] = (*read[FEATURES], *labels)
    return {name: (group_of(pipeline.name, name), topics) for name, topics in read.items()}
