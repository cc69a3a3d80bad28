"""The description of a served model version, and the names of a model's two tensors.

Plain data, shared by training, the model repository and the model servers; nothing here opens a connection or a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.errors import PenstockError

INPUT, OUTPUT = "features", "score"
# What Triton's FIL backend calls them in every model.
FIL_INPUT, FIL_OUTPUT = "input__0", "output__0"


class ModelNotLoaded(PenstockError):  # noqa: N818 - a state, not a defect
    """The server has no version of the model ready."""


@dataclass(frozen=True)
class ModelMetadata:
    """One model version that can be asked for scores.

    Attributes:
        name: The model's name.
        version: The version.
        inputs: The inputs of the vector, in order.
        categories: Those whose codes the vector has.
        kept: The outputs that it returns beside the score, in order.
        views: Feature view name to ``version:hash``, as of training.
        max_batch_size: The maximum number of rows of one request.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    views: Mapping[str, str]
    max_batch_size: int
    categories: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers it returns for a vector: the score and the outputs that are kept."""
        return 1 + len(self.kept)
