"""What a pipeline commits: its contracts, the schema of its feature records, and the meaning of its views."""

from __future__ import annotations

from schemas.committed import PipelineForms
from streams.definitions.pipeline import Pipeline
from streams.plan.feature_records import features_schema
from streams.plan.hashing import optional_fields, view_definition
from streams.plan.model import PipelinePlan


def pipeline_forms(pipeline: Pipeline, plan: PipelinePlan, reference: str | None = None) -> PipelineForms:
    """The forms to compare with the committed ones, or to commit; ``reference`` is how the user named the pipeline."""
    optional = optional_fields(pipeline)
    views = {
        plan.view(view.name).id: {
            "hash": plan.view(view.name).hash,
            "definition": view_definition(pipeline, view),
            **({"optional": optional} if optional else {}),
        }
        for view in pipeline.views
    }
    return PipelineForms(
        pipeline.name,
        reference or pipeline.name,
        pipeline.contracts,
        {plan.features_topic: features_schema(plan)},
        views,
    )
