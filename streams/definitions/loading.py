"""Finding a pipeline: by its file, or by the name of its folder in ``examples/`` or in ``PENSTOCK_PIPELINES``."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from penstock.errors import PenstockError
from penstock.paths import ROOT
from streams.definitions.pipeline import Pipeline


def pipeline_file(reference: str) -> Path:
    """The file behind ``fraud``, ``examples/fraud`` or ``path/to/pipeline.py``.

    Raises:
        PenstockError: if there is no such file; the message lists where it looked.
    """
    roots = [Path(p) for p in os.environ.get("PENSTOCK_PIPELINES", "").split(os.pathsep) if p]
    roots.append(ROOT / "examples")
    candidates = [
        Path(reference),
        Path(reference) / "pipeline.py",
        *(root / reference / "pipeline.py" for root in roots),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise PenstockError(
        what=f"there is no pipeline {reference!r}",
        where="looked at " + ", ".join(str(c) for c in candidates),
        next="name a pipeline file, or set PENSTOCK_PIPELINES to the folder that holds yours",
    )


def load_pipeline(reference: str) -> Pipeline:
    """Import the file and return its ``pipeline``.

    Raises:
        PenstockError: if there is no such file, or it defines no ``pipeline``.
    """
    path = pipeline_file(reference)
    root, module_name = _module_of(path)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    module = importlib.import_module(module_name)
    pipeline = getattr(module, "pipeline", None)
    if not isinstance(pipeline, Pipeline):
        raise PenstockError(
            what="the file defines no pipeline",
            where=str(path),
            next="assign a penstock.Pipeline to a module-level name 'pipeline'",
        )
    return pipeline


def known_pipelines() -> list[str]:
    """Names of the pipelines that need no path: the folders that hold a ``pipeline.py``, in alphabetical order."""
    return sorted({file.parent.name for root in _roots() for file in root.glob("*/pipeline.py")})


def _roots() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("PENSTOCK_PIPELINES", "").split(os.pathsep) if p]
    return [*roots, ROOT / "examples"]


def _module_of(path: Path) -> tuple[Path, str]:
    """The import root and dotted name of a file: packages upward from it belong to the name."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)
