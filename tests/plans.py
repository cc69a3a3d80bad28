"""Plans as tests need them: everything that the test is not about is filled in."""

from __future__ import annotations

from typing import Any

from streams.plan.model import PipelinePlan

COUNT = {
    "name": "n",
    "operation": "count",
    "column": None,
    "column_type": None,
    "where": None,
    "window_ms": 1_000,
    "hop_ms": 10,
    "type": "long",
}
"""A feature: how many events there were in a window of a second."""


def make_plan(
    *,
    fields: list[dict[str, Any]],
    views: list[dict[str, Any]] | None = None,
    stages: list[dict[str, Any]] | None = None,
    source: dict[str, Any] | None = None,
    additional_sources: tuple[dict[str, Any], ...] = (),
    **parts: Any,
) -> PipelinePlan:
    """A plan over a source of these fields; ``views`` are those of one entity ``e`` with the key ``k``.

    ``source`` and each of ``additional_sources`` say how the pipeline's sources differ from one like that.
    """
    whole_source = {
        "topic": "events",
        "dead_letter_topic": "events.dlq",
        "partitions": 1,
        "contract": "c",
        "contract_version": 1,
        "fields": fields,
        "event_id": "id",
        "event_time": "time",
        "key": "k",
        "dedup_horizon_ms": 1,
        "max_future_ms": 1,
        "max_bytes": 1,
    }
    if views is not None:
        stages = [{"entity": "e", "key": "k", "key_type": "string", "views": views}]
    plan = {"pipeline": "p", "derived": [], "filters": [], "passthrough": [], "features_topic": "features.p"}
    sources = [whole_source | changes for changes in (source or {}, *additional_sources)]
    plan |= {"source": sources[0], "additional_sources": sources[1:], "stages": stages or []}
    return PipelinePlan.model_validate(plan | parts)


def view_of(*features: dict[str, Any], name: str = "v", entity: str = "e", key: str = "k") -> dict[str, Any]:
    """A view of an entity with a text key."""
    head = {"name": name, "version": 1, "entity": entity, "key": key, "key_type": "string", "hash": "h"}
    return head | {"features": list(features)}
