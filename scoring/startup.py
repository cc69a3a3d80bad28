"""What must hold before the first record is scored; each check refuses with what differs and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.topics import admin_client
from scoring.triton import ServedModel
from streams.definitions.pipeline import Pipeline
from streams.plan.model import PipelinePlan

_ASK_S = 15.0
# What scoring.memory rests on: no answer is dated before its event, and none is gone while its event may come again.
_LOG_SETTINGS = {"message.timestamp.type": "CreateTime", "cleanup.policy": "delete"}
_NUMBERS = ("long", "double", "boolean")


def check_model(pipeline: Pipeline, plan: PipelinePlan, served: ServedModel, max_batch: int) -> None:
    """Check that the model that Triton serves is one for this pipeline as it is defined now.

    Raises:
        PenstockError: if its inputs, or the meaning of the views that they come from, are not the pipeline's, or its
            batches are smaller than ``max_batch``.
    """
    where = f"model {served.name} version {served.version}"
    _check_inputs(pipeline.model.inputs, served.inputs, where)
    _check_numeric(plan, served.inputs, where)
    _check_views(plan, served, where)
    if served.max_batch_size < max_batch:
        raise PenstockError(
            f"batches of up to {max_batch} records are more than the model takes at once ({served.max_batch_size})",
            where=where,
            next=f"penstock scorer run {pipeline.name} --max-batch {max(1, served.max_batch_size)}",
        )


def check_logs(kafka: KafkaAccess, topics: Sequence[str]) -> None:
    """Check that the answers already given can be found again: by their own timestamps, all of them.

    Raises:
        PenstockError: if Kafka replaces the timestamps of a topic, or compacts it; or cannot be asked.
    """
    asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    try:
        # Named, or it would be collected, and its answers with it.
        admin = admin_client(kafka)
        answers = admin.describe_configs(asked, request_timeout=_ASK_S)
        configs = {resource.name: future.result(_ASK_S + 1) for resource, future in answers.items()}
    except (KafkaException, TimeoutError) as error:
        raise PenstockError(
            f"the settings of the topics cannot be had: {error}", where=str(kafka), next="penstock status"
        ) from error
    for topic in topics:
        for setting, needed in _LOG_SETTINGS.items():
            found = configs[topic][setting].value
            if found != needed:
                raise PenstockError(
                    f"topic {topic} has {setting}={found}; what is already scored can only be told with {needed}",
                    where=f"{topic} at {kafka}",
                    safe="nothing was read or scored",
                    next=f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
                    f"--add-config {setting}={needed}",
                )


def fallback_file(repository: Path, served: ServedModel) -> Path:
    """The ONNX file of a served version in the model repository."""
    return repository / served.name / str(served.version) / "model.onnx"


def _check_inputs(declared: tuple[str, ...], served: tuple[str, ...], where: str) -> None:
    if declared == served:
        return
    position = next(
        (i for i, (a, b) in enumerate(zip(declared, served, strict=False)) if a != b), min(len(declared), len(served))
    )
    ours = repr(declared[position]) if position < len(declared) else "nothing"
    theirs = repr(served[position]) if position < len(served) else "nothing"
    raise PenstockError(
        f"the model's inputs are not the pipeline's: number {position} is {ours} there and {theirs} in the model",
        where=f"{where}: {len(served)} inputs, the pipeline declares {len(declared)}",
        safe="nothing was read or scored",
        next="penstock model train PIPELINE and load it, so that the model learns the inputs as they are now",
    )


def _check_numeric(plan: PipelinePlan, inputs: tuple[str, ...], where: str) -> None:
    kinds = {f"{view.name}.{feature.name}": feature.type for view in plan.views for feature in view.outputs}
    for name in inputs:
        kind = kinds.get(name)
        if kind is not None and kind not in _NUMBERS:
            raise PenstockError(
                f"input {name!r} is of type {kind}, a model takes numbers",
                where=where,
                next="derive a number from it, and use that in Model(inputs=...)",
            )


def _check_views(plan: PipelinePlan, served: ServedModel, where: str) -> None:
    """Only the views that the model reads: another may come or change without it."""
    for name in dict.fromkeys(text.partition(".")[0] for text in served.inputs):
        if name == "event":
            continue
        view = plan.view(name)
        ours, theirs = f"{view.version}:{view.hash}", served.views.get(name)
        if ours != theirs:
            raise PenstockError(
                f"view {name} is not what the model was trained on: {ours} now, {theirs or 'absent'} then",
                where=where,
                safe="nothing was read or scored",
                next="penstock model train PIPELINE and load it, on the features as they are now",
            )
