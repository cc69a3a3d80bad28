"""The benchmark on a GPU counts only what scores right, by turns, and says what it lacks."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.bench import gpu
from tests.bench.gpu import Measured, Runner, agreeing, main, measure, table, without_gpu

BATCH = np.zeros((4, 3), np.float32)


def test_runners_take_turns_and_the_first_two_calls_do_not_count() -> None:
    now, calls = [0.0], []

    def taking(name: str, *seconds: float) -> Runner:
        left = iter(seconds)

        def score(_: object) -> None:
            calls.append(name)
            now[0] += next(left)

        return Runner("m", name, score, 0.0)

    a, b = taking("a", 90, 90, 3, 1, 2), taking("b", 90, 90, 5, 5, 8)
    found = measure([a, b], BATCH, 3, lambda: now[0])
    assert [(one.runner, one.batch, one.microseconds) for one in found] == [("a", 4, 2e6), ("b", 4, 5e6)]
    assert calls == ["a", "b"] * 5


def test_a_runner_whose_scores_differ_from_the_models_first_is_not_measured() -> None:
    def scoring(value: float) -> Runner:
        return Runner("m", f"r{value}", lambda batch: np.full(len(batch), value), 0.1)

    good, wrong = agreeing([scoring(0.5), scoring(0.55), scoring(0.7), scoring(float("nan"))], BATCH)
    assert [runner.name for runner in good] == ["r0.5", "r0.55"]
    assert wrong == [
        "r0.7 is not measured for m: its scores differ by 0.2",
        "rnan is not measured for m: its scores differ by nan",
    ]


@pytest.mark.parametrize(
    ("name", "providers", "has_fil", "says"),
    [
        (None, ["CPUExecutionProvider"], False, ["no GPU is measured: nvidia-smi finds none"]),
        ("H", ["CPUExecutionProvider"], True, ["ONNX Runtime is not measured on the GPU: install onnxruntime-gpu"]),
        ("H", ["CUDAExecutionProvider"], False, ["FIL is not measured on the GPU: install cuml-cu12"]),
        ("H", ["CUDAExecutionProvider"], True, []),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line_with_what_to_install(
    name: str | None, providers: list[str], has_fil: bool, says: list[str]
) -> None:
    lines = without_gpu(name, providers, has_fil=has_fil)
    assert len(lines) == len(says)
    assert all(line.startswith(start) for line, start in zip(lines, says, strict=True))


def test_the_table_has_a_line_for_each_runner_and_a_column_for_each_batch_size() -> None:
    lines = table([Measured("m", "cpu", 1, 10.4), Measured("m", "cpu", 8_192, 2_000.0)]).splitlines()
    assert [line.split()[-2:] for line in lines] == [["1", "8,192"], ["10", "2,000"]]


def test_without_a_gpu_the_cpu_is_measured_and_the_file_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "gpu_name", lambda: None)
    monkeypatch.setattr(gpu, "BATCHES", (1, 8))
    ticks = count()
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: float(next(ticks)))
    assert main(["--turns", "1", "--out", str(tmp_path / "gpu.json")]) == 0
    assert "no GPU is measured" in capsys.readouterr().out
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["machine"]["gpu"] is None
    assert len(written["notes"]) == 1
    assert {(one["model"], one["runner"], one["batch"]) for one in written["measured"]} == {
        (model, runner, batch)
        for batch in (1, 8)
        for model, runner in [
            ("trees", "ONNX Runtime, CPU"),
            ("trees", "treelite, CPU"),
            ("network", "ONNX Runtime, CPU"),
            ("network in FP16", "ONNX Runtime, CPU"),
        ]
    }
    assert written["versions"]["treelite"]
