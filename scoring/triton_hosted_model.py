"""Triton's Python backend for a version that calls a model which Triton hosts already, under any backend.

It is copied into such a version as ``model.py``, beside ``hosted_tensors.py`` and the mapping in ``hosted.json``. It
runs in Triton's environment, of which it needs numpy only.

With every request it asks the model for the scores of some probe rows too. If these are not those of the import, the
model was replaced under its number, and the request fails.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import hosted_tensors
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of one model version; the name is Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the mapping. The hosted model need not be loaded yet: at a start, Triton loads in any order."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self._hosted = json.loads((folder / "hosted.json").read_text(encoding="utf-8"))
        self._probe = np.array(self._hosted["probe"]["vectors"], np.float32)  # null becomes NaN
        width = len(self._hosted["nulls"])
        configured = json.loads(args["model_config"])["input"][0]["dims"]
        if [int(size) for size in configured] != [width]:
            raise pb_utils.TritonModelException(
                f"hosted.json of version {args['model_version']} has {width} inputs, config.pbtxt says {configured}"
            )

    async def execute(self, requests: list[Any]) -> list[Any]:
        """Score the requests of one call at the same time; one that does not fit, or finds no scores, fails alone."""
        return list(await asyncio.gather(*(self._respond(request) for request in requests)))

    async def _respond(self, request: Any) -> Any:
        vectors = pb_utils.get_input_tensor_by_name(request, "features").as_numpy()
        try:
            scores = await self._score(vectors)
        except (ValueError, pb_utils.TritonModelException) as error:
            name, version = self._hosted["name"], self._hosted["version"]
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"model {name} version {version}: {error}"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("score", scores.reshape(-1, 1))])

    async def _score(self, vectors: np.ndarray) -> np.ndarray:
        rows = np.concatenate([vectors, self._probe])
        calls = hosted_tensors.calls_of(self._hosted, rows)
        answers = await asyncio.gather(*(self._ask(call) for call in calls))
        scores = hosted_tensors.scores_of(self._hosted, answers, len(rows))
        genuine: np.ndarray = hosted_tensors.probed(self._hosted, scores)
        return genuine

    async def _ask(self, tensors: dict[str, np.ndarray]) -> np.ndarray:
        output = self._hosted["output"]
        request = pb_utils.InferenceRequest(
            model_name=self._hosted["name"],
            model_version=self._hosted["version"],
            inputs=[pb_utils.Tensor(name, values) for name, values in tensors.items()],
            requested_output_names=[output],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = await request.async_exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        answer: np.ndarray = pb_utils.get_output_tensor_by_name(response, output).as_numpy()
        return answer
