"""The versions of a pipeline's model, as far as a story tells of them."""

from __future__ import annotations

from collections.abc import Iterator

from loop.story import Version
from scoring.gates.stored_reports import read_report, stored_reports
from scoring.repository import ModelRepository
from streams.definitions.pipeline import Pipeline


def versions_of(pipeline: Pipeline, repository: ModelRepository) -> Iterator[Version]:
    """The versions that say when they were made, in their order."""
    name = pipeline.model.name
    for number in repository.versions(name):
        manifest = repository.manifest(name, number)
        made = manifest.provenance
        if made is not None:
            data = None if manifest.recipe is None or manifest.recipe.data is None else manifest.recipe.data.data_hash
            reports = [*stored_reports(repository, name, number).values()]
            verdict = read_report(reports[-1]).verdict.value if reports else None
            yield Version(number, made.made_ms, made.incident, data, verdict)
