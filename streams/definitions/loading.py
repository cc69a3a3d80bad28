"""Finds and loads a pipeline by its file, its folder, or the name of its folder.

Names are looked up in the folders of ``PENSTOCK_PIPELINES``, then in Penstock's ``examples/``.
:mod:`streams.definitions.importing` imports the file.
"""

from __future__ import annotations

import os
from pathlib import Path

from penstock.errors import PenstockError
from penstock.paths import ROOT
from streams.definitions.importing import import_file
from streams.definitions.pipeline import Pipeline


def pipeline_file(reference: str) -> Path:
    """The pipeline file of ``fraud``, ``examples/fraud`` or ``path/to/pipeline.py``.

    Raises:
        PenstockError: if there is no such file; the message lists the paths that were tried.
    """
    candidates = [
        Path(reference),
        Path(reference) / "pipeline.py",
        *(root / reference / "pipeline.py" for root in _roots()),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise PenstockError(
        what=f"there is no pipeline {reference!r}",
        where="looked for " + ", ".join(str(c) for c in candidates),
        next="name a pipeline file, or set PENSTOCK_PIPELINES to the folder that contains the pipeline's folder",
    )


def load_pipeline(reference: str) -> Pipeline:
    """Import the pipeline file, once, and return its ``pipeline``.

    Raises:
        PenstockError: if there is no such file, or it defines no ``pipeline``.
    """
    path = pipeline_file(reference)
    pipeline = getattr(import_file(path), "pipeline", None)
    if not isinstance(pipeline, Pipeline):
        raise PenstockError(
            what="the file defines no pipeline",
            where=str(path),
            next="assign a penstock.Pipeline to a module-level name 'pipeline'",
        )
    return pipeline


def known_pipelines() -> list[str]:
    """The names of the pipelines that need no path: folders with a ``pipeline.py``, in alphabetical order."""
    return sorted({file.parent.name for root in _roots() for file in root.glob("*/pipeline.py")})


def _roots() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("PENSTOCK_PIPELINES", "").split(os.pathsep) if p]
    return [*roots, ROOT / "examples"]
