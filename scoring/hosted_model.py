"""A model that Triton hosts already, under any backend, and how a version of ours calls it: plain data.

A version of ours pins one version of it and maps vectors to its tensors. The version's ``model.py``
(:mod:`scoring.triton_hosted_model`) gets this mapping as ``hosted.json``, with some probe rows and their scores.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class HostedTensor(BaseModel):
    """One of the model's input tensors.

    Args:
        name: Its name.
        datatype: Its type, as Triton writes it, such as ``FP32``.
        columns: The places of the inputs that it takes, in the vector.
        flat: Whether it is ``[N]``; else ``[N, columns]``.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    datatype: str
    columns: tuple[int, ...]
    flat: bool


class HostedModel(BaseModel):
    """A version of a model in Triton, its tensors, and where in its outputs the score is.

    Args:
        name: The model's name in Triton.
        version: Its version there, which our version calls and no other.
        backend: What runs it, such as ``onnxruntime``.
        platform: What Triton calls its format, such as ``onnxruntime_onnx``.
        max_rows: How many rows one call may have; 0 for any number.
        tensors: Its input tensors.
        nulls: What null becomes in each input; None where it stays NaN.
        output: The output with the score.
        width: How many numbers that has for each row.
        column: Which of them is the score.
        tolerance: By how much the scores of the probe rows may differ, absolutely or relatively.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    backend: str
    platform: str
    max_rows: int
    tensors: tuple[HostedTensor, ...]
    nulls: tuple[float | None, ...]
    output: str
    width: int
    column: int
    tolerance: float

    def __str__(self) -> str:
        return f"model {self.name} version {self.version}"


class Probe(BaseModel):
    """Vectors, null where there is none, and their scores: by them a model is known again."""

    model_config = ConfigDict(frozen=True)

    vectors: tuple[tuple[float | None, ...], ...]
    scores: tuple[float, ...]
