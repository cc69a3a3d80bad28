import numpy as np
import pytest

from penstock.errors import PenstockError
from scoring.inference import Inference, OnnxSession
from scoring.predictions import Answer
from scoring.triton import ServedModel, TritonError
from tests.scoring.bench import onnx_bytes

MODEL = ServedModel("taps", 3, ("event.amount",), {}, 4096)


class FakeTriton:
    """Adds 0.5 to the first input; fails while ``down``."""

    def __init__(self):
        self.down = False
        self.calls = []

    def scores(self, model, version, vectors, deadline_s):
        self.calls.append((model, version, len(vectors), deadline_s))
        if self.down:
            raise TritonError("StatusCode.UNAVAILABLE")
        return vectors[:, 0] + np.float32(0.5)


class FakeSession:
    """Adds 0.25; fails on a batch that holds 13, or always when ``broken``."""

    def __init__(self, broken=False):
        self.broken = broken

    def scores(self, vectors):
        if self.broken or (vectors == 13).any():
            raise ValueError("the value 13 is refused")
        return vectors[:, 0] + np.float32(0.25)


class Rig:
    def __init__(self, session=None):
        self.now = 100.0
        self.triton = FakeTriton()
        self.reasons = []
        self.inference = Inference(
            self.triton,
            MODEL,
            session or FakeSession(),
            deadline_s=0.2,
            clock=lambda: self.now,
            on_fallback=self.reasons.append,
        )

    def answers(self, *values):
        return self.inference.answers(np.array([[value] for value in values], dtype=np.float32))


def test_a_batch_is_one_call_to_the_pinned_version_with_the_deadline():
    rig = Rig()
    assert rig.answers(0, 1) == [Answer(0.5, "primary"), Answer(1.5, "primary")]
    assert rig.triton.calls == [("taps", 3, 2, 0.2)]


def test_when_triton_fails_the_copy_answers_and_says_so():
    rig = Rig()
    rig.triton.down = True
    assert rig.answers(0, 1) == [Answer(0.25, "fallback"), Answer(1.25, "fallback")]
    assert rig.reasons == ["StatusCode.UNAVAILABLE"]


def test_after_a_failure_triton_is_left_alone_for_a_second():
    rig = Rig()
    rig.triton.down = True
    for _ in range(3):
        rig.answers(0)
        rig.now += 0.3
    assert len(rig.triton.calls) == 1


def test_triton_is_used_again_when_it_is_back():
    rig = Rig()
    rig.triton.down = True
    rig.answers(0)
    rig.triton.down = False
    rig.now += 1.0
    assert rig.answers(0) == [Answer(0.5, "primary")]


def test_a_record_on_which_the_model_fails_is_singled_out():
    rig = Rig()
    rig.triton.down = True
    assert rig.answers(1, 13, 2) == [Answer(1.25, "fallback"), None, Answer(2.25, "fallback")]


def test_a_model_that_fails_on_anything_is_an_error_and_blames_no_record():
    rig = Rig(FakeSession(broken=True))
    rig.triton.down = True
    with pytest.raises(PenstockError, match="fails on any input"):
        rig.answers(1, 2)


def test_the_model_file_scores_as_the_weights_say(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes())
    scores = OnnxSession(path, 3).scores(np.array([[0, 0, 0], [2, np.nan, 8]], dtype=np.float32))
    assert scores.dtype == np.float32
    assert scores.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("content", [None, b"no model", b""])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PenstockError, match="fallback") as refused:
        OnnxSession(path, 3)
    assert refused.value.where == str(path)


def test_a_model_of_another_width_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes())
    with pytest.raises(PenstockError, match="fallback"):
        OnnxSession(path, 4)
