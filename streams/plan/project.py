"""A pipeline as commands use it: loaded and compiled once, with the folder of its committed schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from schemas.committed import PipelineForms
from streams.definitions.loading import load_pipeline, pipeline_file
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import FeaturesDecoder, features_decoder
from streams.plan.model import PipelinePlan
from streams.plan.other_views import OtherView, find_other_views
from streams.plan.pipeline_forms import pipeline_forms


@dataclass(frozen=True)
class Project:
    """One pipeline: its definition, its plan and its committed schemas.

    Args:
        reference: The pipeline as the user named it, for the commands that messages propose.
        pipeline: The definition.
        plan: The plan.
        schemas: The folder of the committed schemas, which need not exist yet.
        other_views: The views of other pipelines from which its model takes inputs.
    """

    reference: str
    pipeline: Pipeline
    plan: PipelinePlan
    schemas: Path
    other_views: tuple[OtherView, ...] = ()

    @classmethod
    def of(cls, pipeline: Pipeline, schemas: Path, reference: str | None = None) -> Project:
        """The project of a definition in memory; ``reference`` is by default its name.

        Raises:
            PenstockError: if its model takes inputs from a view of another pipeline that does not exist or fit.
        """
        plan = compile_plan(pipeline)
        others = find_other_views(pipeline, plan, lambda name: compile_plan(load_pipeline(name)))
        return cls(reference or pipeline.name, pipeline, plan, schemas, others)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    @cached_property
    def forms(self) -> PipelineForms:
        """What it commits."""
        return pipeline_forms(self.pipeline, self.plan, self.reference)

    def features_decoder(self) -> FeaturesDecoder:
        """The decoder of the features topic, for the current schema and all committed ones."""
        return features_decoder(self.plan, self.schemas)


def open_project(reference: str) -> Project:
    """Load and compile a pipeline by its file, its folder, or the name of its folder.

    Raises:
        PenstockError: if there is no such pipeline, its file defines none, or its model takes inputs from a view of
            another pipeline that does not exist or fit.
    """
    return Project.of(load_pipeline(reference), pipeline_file(reference).parent / "schemas", reference)
