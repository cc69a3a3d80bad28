"""Checks before the first record is scored. Each error states the difference and the command that resolves it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from scoring.hosted_model import HostedModel
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.repository import ModelRepository
from scoring.servers.protocol import InferenceError, ModelLoadError, ModelServer, ModelServerUnavailable
from scoring.training_set import view_versions
from streams.definitions.pipeline import Pipeline
from streams.plan.model import PipelinePlan
from streams.plan.other_views import OtherView

_log = logging.getLogger(__name__)

_WARM_UP_S = 5.0

# The assumptions of scoring.memory: no record is dated before its event, and none is deleted while its event may come
# again.
_TOPIC_SETTINGS = {"message.timestamp.type": "CreateTime", "cleanup.policy": "delete"}
TopicSettings = Mapping[str, str]


def describe_model(primary: ModelServer, fallback: ModelServer, model: str) -> ModelMetadata:
    """The version that the primary server has ready; if the primary is down, the one that the fallback describes.

    A scorer can therefore start while the primary is down.

    Raises:
        PenstockError: if the model is not loaded, or the primary is down and the fallback has no such model.
    """
    try:
        return primary.metadata(model)
    except ModelServerUnavailable as error:
        try:
            metadata = fallback.metadata(model)
        except ModelNotLoaded:
            raise error from None
        _log.warning(
            "starting without %s, with version %s of the model repository: %s",
            primary.name,
            metadata.version,
            error,
        )
        return metadata


def hosted_by(repository: ModelRepository, model: ModelMetadata) -> HostedModel | None:
    """The model in Triton that the version calls; None if it has a file, or is not in this repository."""
    with suppress(PenstockError):
        return repository.hosted(model.name, model.version)
    return None


def load_fallback(fallback: ModelServer, model: ModelMetadata) -> None:
    """Load the version into the fallback server.

    Raises:
        PenstockError: if it cannot be loaded, or cannot score a vector of the model's inputs.
    """
    try:
        fallback.load(model)
    except ModelLoadError as error:
        raise PenstockError(
            f"the model cannot be loaded as the fallback: {error.what}",
            where=error.where,
            safe="nothing was read or scored",
            next=error.next,
        ) from error


def warm_up(primary: ModelServer, model: ModelMetadata) -> None:
    """Score one vector of zeros on the primary, so that the first batch does not wait for what a server does once.

    A server that fails is left to the first batch, whose scores the fallback then returns.
    """
    with suppress(InferenceError):
        primary.infer(model.name, model.version, np.zeros((1, len(model.inputs)), np.float32), _WARM_UP_S)


def check_model(
    pipeline: Pipeline, plan: PipelinePlan, model: ModelMetadata, max_batch: int, others: Sequence[OtherView] = ()
) -> None:
    """Check that a served model fits the pipeline, and the ``others`` views, as they are defined now.

    Raises:
        PenstockError: if its inputs, or the definitions of the views that they come from, are not the pipeline's, or
            its largest batch is smaller than ``max_batch``.
    """
    where = f"model {model.name} version {model.version}"
    _check_inputs(pipeline.model.inputs, model.inputs, where)
    _check_categories(pipeline.categories, model.categories, where)
    _check_views(view_versions(plan, model.inputs, others), model, where)
    if model.max_batch_size < max_batch:
        raise PenstockError(
            f"batches of up to {max_batch} records are more than the model takes at once ({model.max_batch_size})",
            where=where,
            next=f"penstock scorer run {pipeline.name} --max-batch {max(1, model.max_batch_size)}",
        )


def check_cascade(fast: ModelMetadata, strong: ModelMetadata) -> None:
    """Check that the models of a cascade answer alike, as a prediction has the outputs of the one that decides.

    Raises:
        PenstockError: if they keep different outputs beside the score.
    """
    if fast.kept != strong.kept:
        kept = [", ".join(model.kept) or "none" for model in (fast, strong)]
        raise PenstockError(
            f"the models of a cascade must keep the same outputs; the fast one keeps {kept[0]}, the strong {kept[1]}",
            where=f"model {strong.name} version {strong.version}",
            safe="nothing was read or scored",
            next="penstock model import PIPELINE:strong --onnx FILE --check-rows FILE, with the same --keep",
        )


def check_topic_settings(topics: Mapping[str, TopicSettings], kafka: KafkaAccess) -> None:
    """Check that every published prediction and dead letter can be found again by its own timestamp.

    Raises:
        PenstockError: if Kafka replaces the timestamps of a topic, or compacts it.
    """
    for topic, settings in topics.items():
        for setting, needed in _TOPIC_SETTINGS.items():
            found = settings[setting]
            if found != needed:
                raise PenstockError(
                    f"topic {topic} has {setting}={found}; only with {needed} can the scorer tell what it has scored",
                    where=f"{topic} at {kafka}",
                    safe="nothing was read or scored",
                    next=_alter(topic, setting, needed),
                )


def retention_warnings(raw_topic: str, raw: TopicSettings, answers: Mapping[str, TopicSettings]) -> list[str]:
    """What to tell about topics of answers that may lose an answer while its event can still be emitted again.

    An answer is never dated before its event, so one that is kept for as long as events are outlives its event. The job
    can go back to the oldest event that the raw topic has.
    """
    events_ms, warnings = int(raw["retention.ms"]), []
    for topic, settings in answers.items():
        kept_ms, kept_bytes = int(settings["retention.ms"]), int(settings["retention.bytes"])
        if kept_ms >= 0 and (events_ms < 0 or kept_ms < events_ms):
            warnings.append(
                f"topic {topic} is kept for {_duration(kept_ms)}, raw topic {raw_topic} for {_duration(events_ms)}: "
                f"if the job goes back further than {_duration(kept_ms)}, its events are scored again; "
                f"next: {_alter(topic, 'retention.ms', str(events_ms))}"
            )
        if kept_bytes >= 0:
            warnings.append(
                f"topic {topic} is kept up to a size (retention.bytes={kept_bytes:,}): if the job goes back to events "
                f"whose answers are deleted, they are scored again; next: {_alter(topic, 'retention.bytes', '-1')}"
            )
    return warnings


def _alter(topic: str, setting: str, value: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {setting}={value}"


def _duration(ms: int) -> str:
    if ms < 0:
        return "ever"
    days = ms / 86_400_000
    return f"{days:g} days" if days >= 1 else f"{ms:,} ms"


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
        next="penstock model train PIPELINE --backfill FOLDER and load it, so that the model learns the inputs as they "
        "are now",
    )


def _check_categories(declared: tuple[str, ...], served: tuple[str, ...], where: str) -> None:
    for name in dict.fromkeys([*declared, *served]):
        if (name in declared) != (name in served):
            ours, theirs = ("a category", "a number") if name in declared else ("a number", "a category")
            raise PenstockError(
                f"input {name!r} is {ours} in the pipeline and {theirs} in the model",
                where=where,
                safe="nothing was read or scored",
                next="penstock model train PIPELINE --backfill FOLDER and load it, or change Model(categories=...)",
            )


def _check_views(views: Mapping[str, str], model: ModelMetadata, where: str) -> None:
    """Check only the views that the model reads: others may be added or changed without retraining."""
    for name, ours in views.items():
        theirs = model.views.get(name)
        if ours != theirs:
            raise PenstockError(
                f"view {name} is not what the model was trained on: {ours} now, {theirs or 'absent'} then",
                where=where,
                safe="nothing was read or scored",
                next="penstock model train PIPELINE --backfill FOLDER and load it, on the features as they are now",
            )
