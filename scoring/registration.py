"""Adding a version that another repository made: on a CI machine, or another person's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from penstock.errors import PenstockError
from scoring.model_metadata import INPUT, OUTPUT
from scoring.onnx_session import open_session
from scoring.repository import ModelRepository
from scoring.trained_model import ImportManifest, ModelManifest, TrainedModel, read_manifest
from scoring.version_files import BACKEND_FILE, HASHES_FILE, MANIFEST_FILE, identity, verify_files

_MODEL_FILE, _BASELINE_FILE = "model.onnx", "baseline.onnx"


def register(
    repository: ModelRepository, folder: Path, model: str, inputs: tuple[str, ...], views: Mapping[str, str]
) -> int:
    """Copy a version's folder into the repository as the next version, and return its number.

    Triton's backend, ``model.py``, is not taken from the folder: it is that of this Penstock, for it is a program.

    Args:
        repository: The repository.
        folder: The version's folder.
        model: The model's name.
        inputs: The inputs of the pipeline's model.
        views: Their views as the pipeline defines them, each with ``version:hash``.

    Raises:
        PenstockError: if a file of it has changed, it does not fit the pipeline, it cannot score, or the repository has
            this very version.
    """
    verify_files(folder)
    manifest = _manifest(folder, model)
    _require_fit(manifest, inputs, views, folder)
    made = identity(folder)
    for version in repository.versions(model):
        if identity(repository.folder(model, version)) == made:
            raise _refusal(f"model {model} has this very version, as version {version}", folder)
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    onnx = files.pop(_MODEL_FILE).read_bytes()
    baseline = files.pop(_BASELINE_FILE).read_bytes() if _BASELINE_FILE in files else None
    _require_score(onnx, len(inputs), 1 + len(manifest.kept), folder)
    for written_anew in (BACKEND_FILE, HASHES_FILE, MANIFEST_FILE):
        files.pop(written_anew, None)
    artifacts: dict[str, str | bytes] = {name: path.read_bytes() for name, path in files.items()}
    return repository.add(model, TrainedModel(onnx, baseline, manifest), artifacts)


def _manifest(folder: Path, model: str) -> ModelManifest | ImportManifest:
    """The manifest in a folder that is a version of the model."""
    if not (folder / _MODEL_FILE).is_file() or not (folder / MANIFEST_FILE).is_file():
        raise _refusal(f"the folder is no version of a model: it lacks {_MODEL_FILE} or {MANIFEST_FILE}", folder)
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        manifest = read_manifest(content)
    except ValueError as error:
        raise _refusal(f"the manifest cannot be read: {error}", folder / MANIFEST_FILE) from error
    if content.get("model") != model:
        raise _refusal(f"it is a version of model {content.get('model')}, not of {model}", folder / MANIFEST_FILE)
    return manifest


def _require_fit(
    manifest: ModelManifest | ImportManifest, inputs: tuple[str, ...], views: Mapping[str, str], folder: Path
) -> None:
    if manifest.inputs != inputs:
        other = sorted(set(manifest.inputs) ^ set(inputs))
        raise _refusal(f"its inputs are not the pipeline's: {', '.join(other) or 'they have another order'}", folder)
    for view, now in views.items():
        if manifest.views.get(view) != now:
            raise _refusal(f"view {view} is {manifest.views.get(view)} there and {now} in the pipeline", folder)


def _require_score(onnx: bytes, width: int, outputs: int, folder: Path) -> None:
    """Check that the model takes vectors of this width, and gives a score and the kept outputs for each."""
    try:
        (scores,) = open_session(onnx).run([OUTPUT], {INPUT: np.zeros((2, width), np.float32)})
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        reason = str(error).strip().splitlines()[0]
        raise _refusal(f"its model cannot score vectors of {width} inputs: {reason}", folder / _MODEL_FILE) from error
    if np.shape(scores) != (2, outputs):
        raise _refusal(f"its model gives {np.shape(scores)} for two vectors, not (2, {outputs})", folder / _MODEL_FILE)


def _refusal(what: str, where: Path) -> PenstockError:
    return PenstockError(
        what,
        where=str(where),
        safe="nothing was written",
        next="give the folder of a version, as `penstock model train` or `penstock model import` wrote it",
    )
