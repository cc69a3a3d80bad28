"""The verifier's own calls of a model that only Triton has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from penstock.triton import TritonAccess
from scoring.hosted_files import files_sha256
from tests.scoring.fake_hosted import HOSTED
from verify.hosted import CannotBeAsked, _scorer, nobody, triton_scorers

MANIFEST: dict[str, Any] = {"hosted": HOSTED.model_dump(mode="json"), "sha256": ""}
X = np.array([[n, np.nan, 1] for n in range(250)], np.float32)


class Client:
    """Has the model: a tenth of the sum."""

    def __init__(self) -> None:
        self.ready = True
        self.error: InferenceServerException | None = None
        self.rows: list[int] = []

    def is_model_ready(self, name: str, version: str, **_: Any) -> bool:
        assert (name, version) == ("risk", "3")
        return self.ready

    def infer(self, name: str, inputs: list[Any], **options: Any) -> Client:
        assert (name, options["model_version"]) == ("risk", "3")
        if self.error is not None:
            raise self.error
        kinds = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
        columns = [np.frombuffer(one._raw_content, kinds[one.datatype()]).astype(np.float64) for one in inputs]
        self.score = np.sum(columns, axis=0) / 10
        self.rows.append(len(self.score))
        return self

    def as_numpy(self, _: str) -> np.ndarray:
        return np.stack([1 - self.score, self.score], axis=1)


def score(client: Any, manifest: dict[str, Any] = MANIFEST, repository: Path = Path("none")) -> np.ndarray:
    return _scorer(client, manifest, repository)(X)


def test_it_asks_the_pinned_version_in_calls_that_the_model_takes() -> None:
    client = Client()
    assert score(client)[:, 0] == pytest.approx((X[:, 0] + 1) / 10)
    assert client.rows == [100, 100, 50]


def test_a_model_that_is_not_ready_or_does_not_answer_cannot_be_asked() -> None:
    client = Client()
    client.error = InferenceServerException("gone", status="StatusCode.UNAVAILABLE")
    with pytest.raises(CannotBeAsked, match="model risk version 3 in Triton does not answer: gone"):
        score(client)
    client.ready = False
    with pytest.raises(CannotBeAsked, match="model risk version 3 in Triton is not loaded"):
        score(client)


def test_an_error_of_the_model_itself_is_raised() -> None:
    client = Client()
    client.error = InferenceServerException("this amount is refused", status="StatusCode.INTERNAL")
    with pytest.raises(InferenceServerException, match="this amount is refused"):
        score(client)


def test_a_model_whose_files_are_others_now_cannot_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "risk" / "3" / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_text("imported")
    manifest = {**MANIFEST, "sha256": files_sha256(tmp_path, "risk", 3, "python")}
    assert len(score(Client(), manifest, tmp_path)) == len(X)
    file.write_text("replaced")
    with pytest.raises(CannotBeAsked, match="are not those that were imported"):
        score(Client(), manifest, tmp_path)


def test_without_a_server_nobody_is_asked() -> None:
    with pytest.raises(CannotBeAsked, match="model risk version 3 in Triton was not asked"):
        nobody(MANIFEST)(X)
    with (
        triton_scorers(TritonAccess(url="127.0.0.1:1"), Path("none")) as scorers,
        pytest.raises(CannotBeAsked, match="model risk version 3 in Triton"),
    ):
        scorers(MANIFEST)(X)
