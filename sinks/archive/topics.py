"""Which topics of a pipeline are archived, and with which columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.settings import Settings
from schemas.history import record_decoder
from schemas.records import PREDICTION_SCHEMA
from schemas.registry import registry_schemas
from sinks.archive.avro_columns import AvroColumns
from sinks.archive.columns import TopicColumns
from sinks.archive.event_columns import EventColumns, has_hashed_fields
from streams.plan.feature_records import features_schema
from streams.plan.project import Project

KINDS = ("raw", "labels", "features", "predictions")
"""The kinds of topics that can be archived."""


def topic_columns(project: Project, settings: Settings, kinds: Sequence[str] = KINDS) -> dict[str, TopicColumns]:
    """The topics of a pipeline of these kinds, each with its columns.

    Raises:
        PenstockError: if personal fields are to be hashed, and there is no key for it.
    """
    pipeline, registry = project.pipeline, registry_schemas(settings.schema_registry_url)
    contracts: list[tuple[str, Any, tuple[int, int] | None, Any]] = []
    if "raw" in kinds:
        contracts += [(of.topic, of.contract, (of.max_bytes, of.max_future), of.envelope) for of in pipeline.sources]
    if "labels" in kinds and pipeline.labels is not None:
        contracts += [(of.topic, of.contract, None, None) for of in pipeline.labels.sources]
    topics = {}
    for topic, contract, limits, envelope in contracts:
        key = settings.pii.require_key().get_secret_value().encode() if has_hashed_fields(contract) else b""
        topics[topic] = TopicColumns(EventColumns(contract, project.schemas, registry, key, limits, envelope))
    if "features" in kinds:
        features = AvroColumns("features", features_schema(project.plan), project.features_decoder())
        topics[pipeline.features_topic] = TopicColumns(features)
    if "predictions" in kinds:
        predictions = AvroColumns("prediction", PREDICTION_SCHEMA, record_decoder("prediction"))
        topics[pipeline.predictions_topic] = TopicColumns(predictions)
    return topics
