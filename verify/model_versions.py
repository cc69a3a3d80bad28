"""The versions of models in a repository, as functions from vectors to numbers: from their files, or on the server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from streams.definitions.pipeline import Model
from verify.check_cascade import chosen_bands, routes
from verify.check_predictions import SCORE_TOLERANCE
from verify.hosted import HostedScorers, Scorer


@dataclass(frozen=True)
class ModelVersions:
    """The versions of every model.

    Args:
        repository: The model repository.
        hosted: Scores with versions whose model only Triton has.
    """

    repository: Path
    hosted: HostedScorers

    def scorer(self, name: str, version: str) -> Scorer:
        """A version of a model, from its file, or on the server that alone has it.

        Raises:
            OSError: if there is no such version.
        """
        folder = self.repository / name / version
        manifest = _manifest(folder)
        return self.hosted(manifest) if manifest.get("hosted") else _scorer(folder / "model.onnx")

    def tolerance(self, name: str, version: str) -> float:
        """By how much a score of a version may differ: on a server, batches of another size are rounded otherwise."""
        hosted = _manifest(self.repository / name / version).get("hosted")
        return float(hosted["tolerance"]) if hosted else SCORE_TOLERANCE

    def contributions(self, name: str, version: str) -> Scorer | None:
        """By how much each input moves a score of a version; None if it does not say."""
        file = self.repository / name / version / "reasons.onnx"
        return _scorer(file) if file.is_file() else None

    def baseline_scores(
        self, name: str, version: str, vectors: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32] | None:
        """Scores of a version's baseline, which takes some of the model's inputs; None if it was made without one.

        Raises:
            OSError, ValueError: if it cannot be read.
        """
        folder = self.repository / name / version
        manifest = _manifest(folder)
        baseline = manifest.get("baseline_inputs", ())
        if not baseline:
            return None
        columns = [manifest["inputs"].index(one) for one in baseline]
        return _scorer(folder / "baseline.onnx")(np.ascontiguousarray(vectors[:, columns]))[:, 0]

    def ways(self, model: Model, version: str | None = None) -> list[Scorer]:
        """Each way that an event's score may have come about, by the versions of the model, or of both of a cascade.

        If it is known which version of the model scored it, only those with this version.
        """
        fast = self._all(model.name, model)
        if version is not None:
            fast = {version: fast[version]} if version in fast else {}
        if model.cascade is None:
            return [*fast.values()]
        strong = self._all(model.cascade.strong, model)
        bands = chosen_bands(self.repository / model.name, model, of_any_policy=True)  # letters do not say their policy
        return routes(model, fast, strong, bands, self.tolerance)

    def _all(self, name: str, model: Model) -> dict[str, Scorer]:
        """The versions of a model that take these inputs."""
        folders = [path.parent for path in sorted((self.repository / name).glob("*/manifest.json"))]
        return {
            folder.name: self.scorer(name, folder.name)
            for folder in folders
            if _manifest(folder).get("inputs") == list(model.inputs)
        }


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def _scorer(path: Path) -> Scorer:
    """A model file as a function from vectors, float32 [N, inputs], to its numbers [N, K], the score first.

    Raises:
        OSError: if there is no such file.
    """
    content = path.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()

    def score(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = session.run(None, {tensor.name: vectors})[0]
        return scores

    return score
