"""Scores of models that only Triton has: the server is asked for the exact version that a version of ours calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from penstock.triton import TritonAccess

_TIMEOUT_S = 60.0
_ROWS = 1_024
_UNANSWERED = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")

Vectors = npt.NDArray[np.float32]
Scorer = Callable[[Vectors], Vectors]
"""From vectors [n, inputs] to the version's numbers [n, 1 + kept outputs], the score first."""
HostedScorers = Callable[[Mapping[str, Any]], Scorer]
"""The scorer of a version with this manifest. It raises :class:`CannotBeAsked`, or what the model raises."""


class CannotBeAsked(Exception):  # noqa: N818 - no defect of the model
    """The model that a version calls is not to be had; the message names it and says why."""


def nobody(manifest: Mapping[str, Any]) -> Scorer:
    """The scorer of a version where no server can be asked."""

    def score(_: Vectors) -> Vectors:
        raise CannotBeAsked(f"{_name(manifest)} was not asked")

    return score


@contextmanager
def triton_scorers(triton: TritonAccess, repository: Path) -> Iterator[HostedScorers]:
    """Scorers that ask a Triton, for the duration of the block.

    Args:
        triton: Where it is.
        repository: The model repository. Where it has the model's files, they must be those that were imported.
    """
    with closing(InferenceServerClient(**triton.client())) as client:
        yield lambda manifest: _scorer(client, manifest, repository)


def _scorer(client: InferenceServerClient, manifest: Mapping[str, Any], repository: Path) -> Scorer:
    hosted, name = manifest["hosted"], _name(manifest)

    def score(vectors: Vectors) -> Vectors:
        if manifest["sha256"] and _files_hash(repository, hosted) not in (manifest["sha256"], None):
            raise CannotBeAsked(f"the files of {name} are not those that were imported")
        try:
            if not client.is_model_ready(hosted["name"], str(hosted["version"]), client_timeout=_TIMEOUT_S):
                raise CannotBeAsked(f"{name} is not loaded")
            rows = min(hosted["max_rows"] or _ROWS, _ROWS)
            parts = [_ask(client, hosted, vectors[at : at + rows]) for at in range(0, len(vectors), rows)]
        except InferenceServerException as error:
            if error.status() in _UNANSWERED:
                raise CannotBeAsked(f"{name} does not answer: {error.message()}") from error
            raise
        except grpc.RpcError as error:
            raise CannotBeAsked(f"{name} does not answer: {error!r}") from error
        return np.concatenate(parts)

    return score


def _name(manifest: Mapping[str, Any]) -> str:
    hosted = manifest["hosted"]
    return f"model {hosted['name']} version {hosted['version']} in Triton"


def _ask(client: InferenceServerClient, hosted: Mapping[str, Any], vectors: Vectors) -> Vectors:
    filled = vectors.copy()
    for column, value in enumerate(hosted["nulls"]):
        if value is not None:
            filled[np.isnan(filled[:, column]), column] = value
    feed = []
    for tensor in hosted["tensors"]:
        part = filled[:, tensor["columns"]]
        with np.errstate(all="ignore"):
            values = np.ascontiguousarray(part.astype(triton_to_np_dtype(tensor["datatype"])))
        if tensor["flat"]:
            values = values.reshape(len(values))
        given = InferInput(tensor["name"], list(values.shape), np_to_triton_dtype(values.dtype))
        given.set_data_from_numpy(values)
        feed.append(given)
    result = client.infer(
        hosted["name"],
        feed,
        model_version=str(hosted["version"]),
        outputs=[InferRequestedOutput(hosted["output"])],
        client_timeout=_TIMEOUT_S,
    )
    answer = result.as_numpy(hosted["output"]).reshape(len(vectors), hosted["width"])
    scores: Vectors = answer[:, [hosted["column"]]].astype(np.float32)
    return scores


def _files_hash(repository: Path, hosted: Mapping[str, Any]) -> str | None:
    """The hash of the model's files (docs/guides/models.md); None if they cannot be read."""
    home = repository / hosted["name"]
    is_ensemble = hosted["platform"] == "ensemble"
    pattern = "config.pbtxt" if is_ensemble else f"{hosted['version']}/**/*"
    lines = []
    try:
        for path in sorted(home.glob(pattern)):
            if path.is_file() and path.parent.name != "__pycache__":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append(f"{content}  {path.relative_to(home).as_posix()}\n")
    except OSError:
        return None
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else None
