"""Measures models on a GPU beside one thread of the CPU: ``python -m tests.bench.gpu``, writes ``gpu.json``.

A model of trees runs under ONNX Runtime and under treelite, which is what Triton's FIL backend runs on a CPU; a network
runs in FP32 and FP16. Where there is a GPU, ONNX Runtime's CUDA provider and RAPIDS FIL run the same files; where there
is none, the benchmark says so. What runs takes turns, call by call, and is compared with the CPU's scores before it
counts. Times include the copies to the GPU and back, as for a server.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import treelite
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier

from penstock.paths import BUILD
from scoring.half_precision import TOLERANCE, to_half_precision
from scoring.onnx_session import open_session, scores_of
from scoring.onnx_wrapping import Conversions, Output, Tensors, read_model, wrap
from scoring.training import PARITY, to_onnx
from scoring.treelite_export import predict, to_checkpoint
from scoring.vectors import FloatArray
from tests.bench import command

BATCHES = (1, 8, 64, 512, 1_024, 4_096, 8_192)
INPUTS = tuple(f"event.f{number}" for number in range(36))
TREES, NETWORK, NETWORK_FP16 = "trees", "network", "network in FP16"
_SEED = 17
_WIDTH = 512
_CUDA = "CUDAExecutionProvider"
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "treelite", "cuml-cu12", "cuml-cu13", "numpy", "scikit-learn")

Score = Callable[[FloatArray], Any]


@dataclass(frozen=True)
class Runner:
    """What scores a model's vectors, and by how much it may differ from the model's first runner."""

    model: str
    name: str
    score: Score
    tolerance: float


@dataclass(frozen=True)
class Measured:
    """The median of the calls with one batch size."""

    model: str
    runner: str
    batch: int
    microseconds: float

    @property
    def rows_per_s(self) -> float:
        """How many rows are scored in a second."""
        return self.batch / self.microseconds * 1e6


def measure(runners: Iterable[Runner], batch: FloatArray, turns: int, clock: Callable[[], float]) -> list[Measured]:
    """The medians of several calls of each runner with a batch, by turns.

    Args:
        runners: They score it.
        batch: Vectors, float32 [N, inputs].
        turns: How many calls of each count, after two that do not.
        clock: Seconds.
    """
    taken: dict[Runner, list[float]] = {runner: [] for runner in runners}
    for _ in range(turns + 2):
        for runner, times in taken.items():
            begin = clock()
            runner.score(batch)
            times.append(clock() - begin)
    return [
        Measured(runner.model, runner.name, len(batch), statistics.median(times[2:]) * 1e6)
        for runner, times in taken.items()
    ]


def agreeing(runners: Iterable[Runner], vectors: FloatArray) -> tuple[list[Runner], list[str]]:
    """The runners that score as the first of their model does, and a line about each other one."""
    expected: dict[str, FloatArray] = {}
    good: list[Runner] = []
    wrong: list[str] = []
    for runner in runners:
        scores = np.asarray(runner.score(vectors)).reshape(-1)
        first = expected.setdefault(runner.model, scores)
        difference = float(np.max(np.abs(scores - first)))
        if difference <= runner.tolerance:
            good.append(runner)
        else:
            wrong.append(f"{runner.name} is not measured for {runner.model}: its scores differ by {difference:.2g}")
    return good, wrong


def table(measured: Iterable[Measured]) -> str:
    """Microseconds of a call, a line for each runner of each model, a column for each batch size."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for one in measured:
        found.setdefault((one.model, one.runner), {})[one.batch] = one.microseconds
    batches = sorted({batch for times in found.values() for batch in times})
    lines = [f"{'microseconds of a call of':<44}" + "".join(f"{batch:>10,}" for batch in batches)]
    lines += [
        f"{f'{model}, {runner}':<44}" + "".join(f"{times[batch]:>10,.0f}" for batch in batches)
        for (model, runner), times in found.items()
    ]
    return "\n".join(lines)


def without_gpu(gpu: str | None, providers: Iterable[str], *, has_fil: bool) -> list[str]:
    """What is not measured here and what to do for it, a line each; none if all is.

    Args:
        gpu: The GPU's name, or None.
        providers: ONNX Runtime's.
        has_fil: Whether RAPIDS FIL can be imported.
    """
    if gpu is None:
        return [
            "no GPU is measured: nvidia-smi finds none; on a machine with one, install onnxruntime-gpu in place of "
            "onnxruntime, and cuml-cu12 for FIL"
        ]
    lines = []
    if _CUDA not in providers:
        lines.append("ONNX Runtime is not measured on the GPU: install onnxruntime-gpu in place of onnxruntime")
    if not has_fil:
        lines.append("FIL is not measured on the GPU: install cuml-cu12, of RAPIDS")
    return lines


def models() -> dict[str, bytes]:
    """The models, as ONNX with Penstock's tensors: 300 trees of 15 leaves, and a network of three layers."""
    rng = np.random.default_rng(_SEED)
    rows = vectors(4_000)
    labels = (rows[:, 0] + rows[:, 5] + rng.random(len(rows)) > 1.6).astype(np.int8)
    trees = HistGradientBoostingClassifier(
        max_iter=300, max_leaf_nodes=15, learning_rate=0.05, early_stopping=False, random_state=_SEED
    ).fit(rows, labels)
    network = _network(rng)
    return {
        TREES: to_onnx(trees, rows, INPUTS, _SEED),
        NETWORK: _wrapped(network),
        NETWORK_FP16: _wrapped(to_half_precision(network, NETWORK)),
    }


def vectors(rows: int) -> FloatArray:
    """Vectors, float32 [rows, inputs] in [0, 1); the same each time."""
    return np.random.default_rng(_SEED).random((rows, len(INPUTS)), np.float32)


def gpu_name() -> str | None:
    """Name and driver of the first GPU, as ``nvidia-smi`` says; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def main(arguments: list[str] | None = None) -> int:
    """Measure all that is at hand, print it, and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=main.__doc__)
    parser.add_argument("--turns", type=int, default=30, help="calls of each batch size that count (default: 30)")
    parser.add_argument("--out", type=Path, default=BUILD / "bench" / "gpu.json")
    options = parser.parse_args(arguments)
    gpu = gpu_name()
    fil = None if gpu is None else _fil()
    notes = without_gpu(gpu, onnxruntime.get_available_providers(), has_fil=fil is not None)
    with tempfile.TemporaryDirectory() as folder:
        built = models()
        runners = _runners_on_cpu(built)
        if gpu is not None:
            found, missing = _runners_on_gpu(built, fil, Path(folder))
            runners, notes = [*runners, *found], [*notes, *missing]
        runners, wrong = agreeing(runners, vectors(1_024))
        notes += wrong
        measured = [
            one for rows in BATCHES for one in measure(runners, vectors(rows), options.turns, time.perf_counter)
        ]
    print(table(measured))
    for note in notes:
        print(note)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "gpu": gpu},
        "versions": _versions(),
        "turns": options.turns,
        "notes": notes,
        "measured": [{**asdict(one), "rows_per_s": round(one.rows_per_s)} for one in measured],
    }
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")
    return 0


def _runners_on_cpu(built: Mapping[str, bytes]) -> list[Runner]:
    checkpoint = treelite.Model.deserialize_bytes(to_checkpoint(built[TREES], vectors(1_000)))
    return [
        *(_of_session(name, "ONNX Runtime, CPU", open_session(content)) for name, content in built.items()),
        Runner(TREES, "treelite, CPU", lambda batch: predict(checkpoint, batch), PARITY),
    ]


def _runners_on_gpu(built: Mapping[str, bytes], fil: Any, folder: Path) -> tuple[list[Runner], list[str]]:
    """What runs on the GPU, and a line about each library that is there and does not."""
    runners: list[Runner] = []
    missing: list[str] = []
    if _CUDA in onnxruntime.get_available_providers():
        for name, content in built.items():
            session = onnxruntime.InferenceSession(content, providers=[_CUDA, "CPUExecutionProvider"])
            if session.get_providers()[0] == _CUDA:
                runners.append(_of_session(name, "ONNX Runtime, CUDA", session))
            else:
                missing.append(f"ONNX Runtime cannot load its CUDA provider for {name}: see its warning")
    if fil is not None:
        file = folder / "checkpoint.tl"
        file.write_bytes(to_checkpoint(built[TREES], vectors(1_000)))
        forest = fil.load(str(file), model_type="treelite_checkpoint")
        runners.append(Runner(TREES, "RAPIDS FIL, GPU", lambda batch: np.asarray(forest.predict(batch)), PARITY))
    return runners, missing


def _of_session(model: str, name: str, session: onnxruntime.InferenceSession) -> Runner:
    tolerance = {TREES: PARITY, NETWORK: 1e-4, NETWORK_FP16: TOLERANCE}[model]
    return Runner(model, name, lambda batch: scores_of(session, batch), tolerance)


def _fil() -> Any:
    """The class that loads forests in RAPIDS, or None."""
    try:
        return importlib.import_module("cuml").ForestInference
    except (ImportError, AttributeError):
        return None


def _network(rng: np.random.Generator) -> bytes:
    """An exported network: x [N, inputs] to y [N, 1] through two layers of 512 and a sigmoid."""
    sizes = (len(INPUTS), _WIDTH, _WIDTH, 1)
    weights = {
        f"w{layer}": rng.normal(0, before**-0.5, (before, after)).astype(np.float32)
        for layer, (before, after) in enumerate(pairwise(sizes))
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a0"]),
        helper.make_node("Relu", ["a0"], ["b0"]),
        helper.make_node("MatMul", ["b0", "w1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["b1"]),
        helper.make_node("MatMul", ["b1", "w2"], ["a2"]),
        helper.make_node("Sigmoid", ["a2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        initializer=[numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _wrapped(content: bytes) -> bytes:
    model = read_model(content, NETWORK)
    conversions = Conversions(dict.fromkeys(INPUTS, 0.0))
    return wrap(model, Tensors(model.graph.input[0]), INPUTS, conversions, [Output("y", 0)])


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    command.run(main)
