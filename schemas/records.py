"""Avro schemas of the records that Penstock publishes: the envelope of feature records, predictions, drift alerts.

The part of a feature record that depends on the pipeline is in :mod:`streams.plan.feature_records`.
"""

from __future__ import annotations

from typing import Any

TIMER = "timer"
"""The ``trigger`` of a feature record that a timer caused: the later feature values of an idle entity."""

SOURCE_FIELDS: list[dict[str, Any]] = [
    {"name": "topic", "type": "string"},
    {"name": "partition", "type": "int"},
    {"name": "offset", "type": "long"},
    {"name": "timestamp", "type": "long", "doc": "Kafka timestamp of the raw event, epoch ms"},
]

EMISSION_FIELDS: list[dict[str, Any]] = [
    {"name": "entity", "type": "string"},
    {"name": "epoch", "type": "long"},
    {"name": "seq", "type": "long"},
    {"name": "as_of", "type": "long", "doc": "epoch ms"},
]
"""Which emission of which entity: in each view of a feature record, and for each view in a prediction."""

VIEW_FIELDS: list[dict[str, Any]] = [*EMISSION_FIELDS, {"name": "late", "type": "boolean"}]
"""The fields that precede the features in each view of a feature record: entity, emission and time."""


def feature_envelope(event_fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields of a feature record outside its views; ``event_fields`` are the event columns that it keeps."""
    return [
        {"name": "event_id", "type": "string"},
        {"name": "event_time", "type": "long", "doc": "epoch ms"},
        {"name": "trigger", "type": "string", "doc": "event"},
        {"name": "attempt", "type": "long", "doc": "when the run of the job began that emitted this record, epoch ms"},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": SOURCE_FIELDS}},
        {"name": "event", "type": {"type": "record", "name": "Event", "fields": event_fields}},
    ]


ENVELOPE_NAMES: tuple[str, ...] = tuple(field["name"] for field in feature_envelope([]))
EMISSION_FIELD_NAMES: tuple[str, ...] = tuple(field["name"] for field in EMISSION_FIELDS)
VIEW_FIELD_NAMES: tuple[str, ...] = tuple(field["name"] for field in VIEW_FIELDS)


PREDICTION_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Prediction",
    "namespace": "penstock",
    "doc": "One per valid event, exactly once. The event id is the prediction's id.",
    "fields": [
        {"name": "event_id", "type": "string"},
        {"name": "pipeline", "type": "string"},
        {"name": "event_time", "type": "long", "doc": "epoch ms"},
        {"name": "entity", "type": ["null", "string"], "doc": "entity of the pipeline's first view"},
        {"name": "score", "type": "double"},
        {"name": "decision", "type": "string"},
        {"name": "model", "type": "string"},
        {"name": "model_version", "type": "string"},
        {"name": "route", "type": "string", "doc": "primary, or fallback when the in-process copy answered"},
        {"name": "policy_version", "type": "string", "doc": "hash of threshold and decisions"},
        {
            "name": "views",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "ViewRef",
                    "fields": [
                        {
                            "name": "view",
                            "type": "string",
                            "doc": "name@version; of another pipeline, pipeline:name@version",
                        },
                        *EMISSION_FIELDS,
                    ],
                },
            },
        },
        {"name": "scored_at", "type": "long", "doc": "epoch ms"},
        {"name": "attempt", "type": "long"},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": SOURCE_FIELDS}},
        {"name": "features_topic", "type": "string"},
        {"name": "features_partition", "type": "int"},
        {"name": "features_offset", "type": "long"},
        {
            "name": "vector",
            "type": "bytes",
            "doc": "the inputs in the model's order, float32 little-endian, null as NaN, a category as its code",
        },
        {
            "name": "outputs",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Output",
                    "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": "double"}],
                },
            },
            "default": [],
            "doc": "what else the model returned, if the version keeps outputs beside the score",
        },
        {
            "name": "reasons",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Reason",
                    "fields": [{"name": "input", "type": "string"}, {"name": "contribution", "type": "double"}],
                },
            },
            "default": [],
            "doc": "of a positive or audited decision: the inputs that pushed the score up most, if the version tells",
        },
        {
            "name": "defaulted",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Defaulted",
                    "fields": [
                        {"name": "view", "type": "string", "doc": "pipeline:view"},
                        {"name": "reason", "type": "string", "doc": "EXPIRED, MISSING, NO_ENTITY or UNREACHABLE"},
                    ],
                },
            },
            "default": [],
            "doc": "the views of other pipelines that were not served: the vector has their declared defaults",
        },
        {
            "name": "cascade",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Cascade",
                    "fields": [
                        {"name": "fast_version", "type": "string"},
                        {"name": "strong_version", "type": "string"},
                        {"name": "fast_score", "type": "double"},
                        {
                            "name": "strong_score",
                            "type": ["null", "double"],
                            "doc": "null if the strong model was not asked, or has no score",
                        },
                        {"name": "low", "type": "double", "doc": "the lowest fast score that the strong model decides"},
                        {"name": "high", "type": "double", "doc": "the lowest fast score above those"},
                        {"name": "audited", "type": "boolean", "doc": "a clear case that both models scored"},
                    ],
                },
            ],
            "default": None,
            "doc": "both scores of a cascade, of which model and model_version name the one that decided",
        },
        {
            "name": "rollout",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "RolloutArm",
                    "fields": [
                        {"name": "policy", "type": "string", "doc": "version of the rollout policy: of its hash"},
                        {"name": "arm", "type": "string", "doc": "which scored the event; shadow, if nobody is served"},
                        {"name": "probability", "type": "double", "doc": "with which an entity gets this arm"},
                        {"name": "explored", "type": "boolean", "doc": "the decision is the permissive one"},
                        {"name": "propensity", "type": "double", "doc": "with which an entity has this explored"},
                        {"name": "infer_ms", "type": "double", "doc": "how long the arm took for its batch"},
                    ],
                },
            ],
            "default": None,
            "doc": "which arm of a rollout scored the event; null before the pipeline's first rollout policy",
        },
    ],
}

SCORE_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Score",
    "namespace": "penstock",
    "doc": "What a model version, or a rollout policy, gives a past event; nobody was served it.",
    "fields": [
        {"name": "event_id", "type": "string"},
        {"name": "pipeline", "type": "string"},
        {"name": "event_time", "type": "long", "doc": "epoch ms"},
        {"name": "source_partition", "type": "int", "doc": "where the raw event stands on the source's topic"},
        {"name": "source_offset", "type": "long"},
        {"name": "entity", "type": ["null", "string"], "doc": "entity of the pipeline's first view"},
        {"name": "model", "type": "string"},
        {"name": "model_version", "type": "string"},
        {"name": "score", "type": ["null", "double"]},
        {"name": "decision", "type": ["null", "string"]},
        {"name": "error", "type": ["null", "string"], "doc": "why there is no score"},
        {"name": "defaulted", "type": "boolean", "doc": "inputs of other pipelines are defaults, unlike when served"},
        {
            "name": "policy",
            "type": ["null", "string"],
            "doc": "version of the rollout policy, if one decides",
        },
        {"name": "arm", "type": ["null", "string"]},
        {"name": "explored", "type": "boolean", "doc": "the decision is the permissive one"},
        {
            "name": "outputs",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "ScoreOutput",
                    "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": "double"}],
                },
            },
            "doc": "what else the model returned, if the version keeps outputs beside the score",
        },
        {
            "name": "source_topic",
            "type": ["null", "string"],
            "default": None,
            "doc": "the source's topic, where the events of several are scored",
        },
    ],
}

DRIFT_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "DriftAlert",
    "namespace": "penstock",
    "doc": "One per change that a detector found, exactly once; made again, it has the same alert id.",
    "fields": [
        {"name": "alert_id", "type": "string", "doc": "topic-partition-offset:monitor:detector"},
        {"name": "pipeline", "type": "string"},
        {"name": "monitor", "type": "string", "doc": "a model input, or score"},
        {"name": "detector", "type": "string", "doc": "adwin, page_hinkley, psi, kl or missing"},
        {"name": "statistic", "type": "double", "doc": "what went over the threshold, in the detector's own unit"},
        {"name": "threshold", "type": "double"},
        {"name": "reference", "type": "double", "doc": "mean (missing: share of nulls) that was expected"},
        {"name": "current", "type": "double", "doc": "the same of the latest records"},
        {"name": "event_time", "type": "long", "doc": "epoch ms, what the partition had reached"},
        {"name": "topic", "type": "string", "doc": "where the record at which it was found stands"},
        {"name": "partition", "type": "int"},
        {"name": "offset", "type": "long"},
        {"name": "model", "type": "string"},
        {"name": "model_version", "type": "string", "doc": "whose training data is the reference"},
        {"name": "message", "type": "string", "doc": "the same for a person"},
        {
            "name": "incident",
            "type": ["null", "string"],
            "default": None,
            "doc": "alert id of the first alert of the partition's incident",
        },
    ],
}
