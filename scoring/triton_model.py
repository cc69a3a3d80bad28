"""Triton's Python backend: runs the ``model.onnx`` beside it on the CPU.

It is copied into each model version as ``model.py`` and runs in Triton's environment, which has numpy, onnxruntime and
nothing of Penstock.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of one model version; the name is Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model, and refuse to load if it takes vectors of another width than the configuration says."""
        version = args["model_version"]
        path = Path(args["model_repository"]) / version / "model.onnx"
        options = onnxruntime.SessionOptions()
        # The requests of one call are one batch already: more threads would only compete with the other services.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._width = self._session.get_inputs()[0].shape[1]
        configured = json.loads(args["model_config"])["input"][0]["dims"]
        if [int(size) for size in configured] != [self._width]:
            raise pb_utils.TritonModelException(
                f"model.onnx of version {version} takes {self._width} inputs, config.pbtxt says {configured}"
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score the requests of one call in one run; a request that does not fit fails alone."""
        vectors = [pb_utils.get_input_tensor_by_name(request, "features").as_numpy() for request in requests]
        fitting = [array for array in vectors if self._fits(array)]
        scores = self._run(np.concatenate(fitting)) if fitting else np.empty((0, 1), dtype=np.float32)
        responses, start = [], 0
        for array in vectors:
            if not self._fits(array):
                error = pb_utils.TritonError(f"vectors have shape {array.shape}, the model takes [rows, {self._width}]")
                responses.append(pb_utils.InferenceResponse(error=error))
                continue
            part = scores[start : start + len(array)]
            start += len(array)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("score", part)]))
        return responses

    def _run(self, batch: np.ndarray) -> np.ndarray:
        scores: np.ndarray = self._session.run(["score"], {"features": batch})[0]
        return scores

    def _fits(self, array: np.ndarray) -> bool:
        return array.ndim == 2 and array.shape[1] == self._width
