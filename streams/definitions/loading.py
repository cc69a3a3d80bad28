"""Finds and loads a pipeline by its file, its folder, or the name of its folder.

Names are looked up in the folders of ``PENSTOCK_PIPELINES``, then in Penstock's ``examples/``.
:mod:`streams.definitions.importing` imports the file.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.errors import PenstockError
from penstock.paths import ROOT, STRONG
from streams.definitions.importing import import_file
from streams.definitions.pipeline import Pipeline


def pipeline_file(reference: str) -> Path:
    """The pipeline file of ``fraud``, ``examples/fraud`` or ``path/to/pipeline.py``, also with ``:strong`` behind it.

    Raises:
        PenstockError: if there is no such file; the message lists the paths that were tried.
    """
    reference = reference.removesuffix(STRONG)
    candidates = [
        Path(reference),
        Path(reference) / "pipeline.py",
        *(root / reference / "pipeline.py" for root in _roots()),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    advice = "name a pipeline file, or set PENSTOCK_PIPELINES to the folder that contains the pipeline's folder"
    if ":" in reference:
        advice = f"only {STRONG} can follow a pipeline's name, for the strong model of its cascade; else {advice}"
    raise PenstockError(
        what=f"there is no pipeline {reference!r}",
        where="looked for " + ", ".join(str(c) for c in candidates),
        next=advice,
    )


def load_pipeline(reference: str) -> Pipeline:
    """Import the pipeline file, once, and return its ``pipeline``.

    With ``:strong`` behind the reference, its model is the strong one of the cascade, so that whatever is done with a
    model can be done with this one.

    Raises:
        PenstockError: if there is no such file, it cannot be imported, it defines no ``pipeline``, or no cascade.
    """
    path = pipeline_file(reference)
    try:
        module = import_file(path)
    except PenstockError:
        raise
    except Exception as error:
        raise definition_error(path, error) from error
    pipeline = getattr(module, "pipeline", None)
    if not isinstance(pipeline, Pipeline):
        raise PenstockError(
            what="the file defines no pipeline",
            where=str(path),
            next="assign a penstock.Pipeline to a module-level name 'pipeline'",
        )
    if not reference.endswith(STRONG):
        return pipeline
    if pipeline.model.cascade is None:
        raise PenstockError(
            what=f"model {pipeline.model.name} has no cascade, so there is no strong model",
            where=str(path),
            next="leave :strong out, or declare Model(cascade=Cascade(strong=...))",
        )
    return pipeline.model_copy(update={"model": pipeline.model.strong})


def definition_error(path: Path, error: Exception) -> PenstockError:
    """The error for a file whose import failed: its sentence, and the last line of the pipeline's folder that ran."""
    if isinstance(error, ValidationError):
        what = "; ".join(_sentence(error.title, detail) for detail in error.errors())
    else:
        what = f"{type(error).__name__}: {error}"
    places = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if path.parent in Path(frame.filename).parents
    ]
    if isinstance(error, SyntaxError) and error.filename:
        places.append(f"{error.filename}:{error.lineno}")
    return PenstockError(what, where=places[-1] if places else str(path), next="correct the file, then try again")


def _sentence(title: str, detail: ErrorDetails) -> str:
    """One finding of pydantic as a sentence: our own messages as they are, others with the name of the argument."""
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return f"{title}({'.'.join(map(str, detail['loc']))}): {detail['msg']}"


def known_pipelines() -> list[str]:
    """The names of the pipelines that need no path: folders with a ``pipeline.py``, in alphabetical order."""
    return sorted({file.parent.name for root in _roots() for file in root.glob("*/pipeline.py")})


def _roots() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("PENSTOCK_PIPELINES", "").split(os.pathsep) if p]
    return [*roots, ROOT / "examples"]
