"""Writes down how a version is made, for its manifest: the definition, the code, the machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import PenstockError
from schemas.contract import contract_fields
from scoring.recipe import Recipe
from scoring.training_set import TrainingSet
from streams.definitions.function_source import function_digest
from streams.definitions.labels import Labels, LabelSource
from streams.plan.project import Project

_ROOT = Path(__file__).resolve().parents[1]
# Whose code data and files depend on.
_PACKAGES = ("backfill", "penstock", "schemas", "scoring", "streams")


def recipe_of(
    project: Project,
    seed: int,
    data: TrainingSet | None,
    *,
    function: Callable[..., Any] | None = None,
    parameters: dict[str, float] | None = None,
    tolerance: float | None = None,
) -> Recipe:
    """The recipe of a version that this process makes.

    Args:
        project: The pipeline, whose model it is of.
        seed: The seed.
        data: What it was trained on, or its drift reference was made of.
        function: The user's function that trains.
        parameters: Those of Penstock's own training.
        tolerance: Of an import.
    """
    return Recipe(
        definition=definition_of(project),
        seed=seed,
        parameters=parameters or {},
        data=None if data is None else data.recipe,
        trainer=None if function is None else source_hash(function),
        tolerance=tolerance,
        code=_hash_of_files((path.relative_to(_ROOT).as_posix(), path) for path in _own_source()),
        machine=_machine() if function is None else {**_machine(), "threads": _threads()},
    )


def definition_of(project: Project) -> dict[str, str]:
    """The hash of each part of a definition that a version depends on, beside the views.

    What is as by default is left out, so that an option that a later build adds changes no hash.
    """
    pipeline, plan = project.pipeline, project.plan
    labels, monitors = pipeline.labels, pipeline.monitors
    parts: dict[str, Any] = {
        "events": {
            "sources": [source.model_dump(mode="json", exclude_defaults=True) for source in plan.sources],
            "columns": [
                column.model_dump(mode="json", exclude_defaults=True) for column in (*plan.derived, *plan.filters)
            ],
            **(
                {"lookups": [lookup.model_dump(mode="json", exclude_defaults=True) for lookup in plan.lookups]}
                if plan.lookups
                else {}
            ),
        },
        "labels": labels
        and {
            **_label_source(labels),
            **({"otherwise": [_label_source(source) for source in labels.otherwise]} if labels.otherwise else {}),
        },
        "defaults": pipeline.model.defaults,
        "monitors": monitors and monitors.model_dump(mode="json", exclude_defaults=True),
    }
    return {name: _hash(json.dumps(part, sort_keys=True).encode())[:16] for name, part in parts.items()}


def _label_source(labels: Labels | LabelSource) -> dict[str, Any]:
    return {
        **labels.model_dump(mode="json", exclude={"contract", "otherwise"}, exclude_defaults=True),
        "contract": labels.contract.contract_name,
        "fields": [
            field.model_dump(mode="json", exclude={"description"}, exclude_defaults=True)
            for field in contract_fields(labels.contract)
        ],
    }


def source_hash(function: Callable[..., Any]) -> str:
    """The digest of a user's function, with what it uses of its own module and of those beside it.

    Empty if it cannot be read, as of a callable that is no function of a module: that must not cost a training.
    """
    try:
        return function_digest(function)
    except (AttributeError, KeyError, TypeError, ValueError, OSError, PenstockError):
        return ""


def _own_source() -> Iterable[Path]:
    return (path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py"))


def _hash_of_files(files: Iterable[tuple[str, Path]]) -> str:
    return _hash(json.dumps({name: _hash(path.read_bytes()) for name, path in files}, sort_keys=True).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _machine() -> dict[str, str]:
    """Operating system, processor, C library, and the instructions that numpy chooses its functions by."""
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "numpy's instructions": " ".join([*simd.get("baseline", ()), *simd.get("found", ())]),
    }


def _threads() -> str:
    """How many threads the libraries of a user's function may take; Penstock's own training takes one."""
    return os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
