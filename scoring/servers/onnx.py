"""ONNX Runtime in this process: scores with the model files of the repository, without a server."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnxruntime import InferenceSession

from scoring.model_metadata import INPUT, OUTPUT, ModelMetadata
from scoring.onnx_session import open_session
from scoring.repository import ModelRepository
from scoring.servers.protocol import InferenceError, ModelLoadError, VersionState, one_row_per_vector
from scoring.vectors import FloatArray


class OnnxServer:
    """Runs model versions of a repository on the CPU.

    Args:
        repository: The model repository.
    """

    name = "ONNX Runtime in this process"

    def __init__(self, repository: ModelRepository) -> None:
        self._repository = repository
        self._sessions: dict[tuple[str, int], InferenceSession] = {}

    def metadata(self, model: str) -> ModelMetadata:
        """Describe the version that the repository's configuration names; it need not be loaded yet."""
        return self._repository.metadata(model)

    def infer(self, model: str, version: int, vectors: FloatArray, deadline_s: float | None = None) -> FloatArray:  # noqa: ARG002 - the call returns when it is done
        """See :meth:`ModelServer.infer`."""
        session = self._sessions.get((model, version))
        if session is None:
            raise InferenceError(f"version {version} of model {model} is not loaded")
        return _run(session, vectors)

    def load(self, model: ModelMetadata) -> None:
        """Open the version's file, and check that it scores a vector of the model's width.

        A version that is loaded already scores meanwhile, in another thread, and goes on if its file cannot be opened.
        """
        path = self._repository.model_file(model.name, model.version)
        try:
            session = open_session(path)
            _run(session, np.zeros((1, len(model.inputs)), dtype=np.float32))
        except Exception as error:
            raise ModelLoadError(
                f"ONNX Runtime cannot load version {model.version} of model {model.name}: {error}",
                where=str(path),
                next="set PENSTOCK_MODEL_REPOSITORY to the folder that Triton serves, or "
                "penstock model train PIPELINE --backfill FOLDER",
            ) from error
        self._sessions[model.name, model.version] = session

    def unload(self, model: str) -> None:
        """See :meth:`ModelServer.unload`."""
        self._sessions = {key: session for key, session in self._sessions.items() if key[0] != model}

    def keep_only(self, used: Collection[tuple[str, int]]) -> None:
        """See :meth:`ModelServer.keep_only`."""
        self._sessions = {key: session for key, session in self._sessions.items() if key in used}

    def versions(self, model: str) -> list[VersionState]:
        """See :meth:`ModelServer.versions`."""
        return [VersionState(version, "READY", "") for name, version in sorted(self._sessions) if name == model]

    def close(self) -> None:
        """Close all sessions."""
        self._sessions.clear()


def _run(session: InferenceSession, vectors: FloatArray) -> FloatArray:
    try:
        (found,) = session.run([OUTPUT], {INPUT: vectors})
    except Exception as error:
        # The exceptions of ONNX Runtime have no common base but Exception.
        raise InferenceError(str(error)) from error
    return one_row_per_vector(found, len(vectors))
