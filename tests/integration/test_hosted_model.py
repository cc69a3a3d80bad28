"""A model that Triton hosts already, with tensors of its own: imported, scored, verified, taken away and replaced."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tritonclient.grpc import InferenceServerClient

from penstock.paths import ROOT
from penstock.settings import Settings
from schemas.dead_letters import DeadLetter
from scoring.repository import ModelRepository
from tests.integration.test_scoring import EAGER, assert_exactly_once
from tests.integration.verified import verified
from tests.scoring.scorer_bench import (
    ScorerBench,
    amount_of,
    define,
    expected_score,
    feeding,
    load_model,
    unload_model,
    wait_for,
)

VERSION = 3
# Two outputs, and a tensor for each input; a negative amount has no number, and one below -1 makes it fail.
RISK = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        names = ("amount", "activity_amount_sum_1h", "count_1h")
        amount, total, count = (pb_utils.get_input_tensor_by_name(request, name).as_numpy()[:, 0] for name in names)
        if (amount < -1).any():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("this amount is refused"))
        score = 1 / (1 + np.exp(-({amount} * amount + 0.25 * total - 0.125 * count)))
        score[amount < 0] = np.nan
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("probabilities", np.stack([1 - score, score], axis=1)),
                pb_utils.Tensor("anomaly", amount.reshape(-1, 1)),
            ]
        )
"""
CONFIG = """
backend: "python"
max_batch_size: 100
input [
  {name: "amount" data_type: TYPE_FP32 dims: [1]},
  {name: "activity_amount_sum_1h" data_type: TYPE_FP64 dims: [1]},
  {name: "count_1h" data_type: TYPE_INT64 dims: [1]}
]
output [
  {name: "probabilities" data_type: TYPE_FP64 dims: [2]},
  {name: "anomaly" data_type: TYPE_FP32 dims: [1]}
]
version_policy: {specific: {versions: [3]}}
instance_group [{kind: KIND_CPU}]
"""
INPUTS = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
OPTIONS = ("--output", "probabilities", "--null", "activity.amount_sum_1h=0", "--null", "activity.count_1h=0")


class Hosted:
    """A model in Triton's repository that is none of ours."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self.folder = settings.model_repository / name
        self._client = InferenceServerClient(**settings.triton.access.client())
        self.write(0.5)
        (self.folder / "config.pbtxt").write_text(CONFIG, encoding="utf-8")

    def write(self, weight: float) -> None:
        file = self.folder / str(VERSION) / "model.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(RISK.replace("{amount}", repr(weight)), encoding="utf-8")

    def load(self) -> None:
        self._client.load_model(self.name, client_timeout=60)

    def unload(self) -> None:
        self._client.unload_model(self.name, client_timeout=60)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ScorerBench]:
    """A pipeline with topics, whose model has no version yet."""
    reference, pipeline = define(tmp_path, suffix, partitions=3)
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    yield bench
    with contextlib.suppress(Exception):  # if it fails, the test has failed already
        unload_model(pipeline, settings)


@pytest.fixture
def hosted(settings: Settings, suffix: str) -> Iterator[Hosted]:
    """The model, loaded."""
    found = Hosted(settings, f"risk_{suffix}")
    found.load()
    yield found
    with contextlib.suppress(Exception):
        found.unload()
    found.close()


def rows(folder: Path, off: float = 0.0) -> str:
    """Rows of the model's inputs and scores, of which the last is ``off``."""
    vectors = [(amount_of(n), None if n % 5 == 0 else float(n % 23), n % 17) for n in range(300)]
    scores = [expected_score(*vector) for vector in vectors]
    scores[-1] += off
    table = {name: [vector[at] for vector in vectors] for at, name in enumerate(INPUTS)}
    path = folder / "rows.parquet"
    pq.write_table(pa.table({**table, "score": scores}), path)
    return str(path)


def model(bench: ScorerBench, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", "model", arguments[0], bench.reference, *arguments[1:]],
        check=False,
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )


def imported(bench: ScorerBench, hosted: Hosted) -> None:
    """Import the model, and load the version that calls it."""
    done = model(bench, "import", "--triton", hosted.name, "--check-rows", rows(bench.folder), *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert f"{hosted.name} version 3 in Triton" in done.stdout
    assert "300 rows scored as expected" in done.stdout
    load_model(bench.pipeline, bench.settings)


def test_it_scores_as_it_is_and_the_verifier_asks_it_again(bench: ScorerBench, hosted: Hosted) -> None:
    imported(bench, hosted)
    with bench.scoring():
        bench.feed(150)
        bench.emit(1, 10_000, event={"amount": -0.5})
        bench.emit(2, 10_001, event={"amount": -2.0})
        bench.feed(150)
        assert_exactly_once(bench)
    for prediction in bench.predictions():
        offset = prediction["source"]["offset"]
        total = None if offset % 5 == 0 else float(offset % 23)
        assert prediction["score"] == pytest.approx(expected_score(amount_of(offset), total, offset % 17), abs=1e-6)
        assert (prediction["route"], prediction["model_version"]) == ("primary", "1")
    letters = [DeadLetter.read(m.key(), m.value(), m.headers()) for m in bench.dead_letters()]
    assert {letter.reason for letter in letters} == {"penstock.NotANumber", "penstock.ModelFailed"}
    scored, unscored = verified(bench)
    assert (scored.predictions, scored.mismatches, scored.gaps, scored.unchecked) == (300, 0, 0, [])
    assert (len(unscored.positions), unscored.mismatches, unscored.unchecked) == (2, 0, [])


def test_while_it_is_unloaded_events_wait_and_none_is_lost_or_a_dead_letter(bench: ScorerBench, hosted: Hosted) -> None:
    imported(bench, hosted)
    with bench.scoring("0", *EAGER, "--metrics-port", "0") as process:
        with feeding(bench):
            process.wait_for_log("assigned features")
            for outage in (1, 2):
                hosted.unload()
                wait_for(lambda: process.log().count("waiting for it") >= outage, 60, "the scorer to wait")  # noqa: B023
                hosted.load()
                wait_for(lambda: process.log().count("answers again") >= outage, 60, "the scorer to go on")  # noqa: B023
        assert_exactly_once(bench)
        (url,) = re.findall(r"metrics at (http://[^,\s]+)", process.log())
        metrics = httpx.get(url, trust_env=False).raise_for_status().text
        (waits,) = re.findall(r"^penstock_scorer_waits_total\{.*\} (\S+)$", metrics, re.MULTILINE)
        assert float(waits) >= 2
    assert bench.dead_letters() == []
    assert verified(bench)[0].mismatches == 0
    hosted.unload()
    scored, _ = verified(bench)
    assert scored.mismatches == 0
    assert [text.partition(": ")[2] for text in scored.unchecked] == [
        f"model {hosted.name} version 3 in Triton is not loaded"
    ]


def test_a_model_that_was_replaced_under_its_number_scores_nothing_until_it_is_put_back(
    bench: ScorerBench, hosted: Hosted
) -> None:
    imported(bench, hosted)
    with bench.scoring() as process:
        bench.feed(60)
        bench.wait_until_drained()
        hosted.write(0.75)
        hosted.load()
        bench.feed(60)
        bench.flush()
        process.wait_for_log("it gives other scores than when it was imported")
        refused = model(bench, "load")
        assert refused.returncode == 1
        assert "are not those that were imported as version 1" in refused.stderr
        scored, _ = verified(bench)
        assert (scored.predictions, scored.mismatches) == (60, 0)
        assert "are not those that were imported" in scored.unchecked[0]
        hosted.write(0.5)
        hosted.load()
        assert_exactly_once(bench)
    scored, _ = verified(bench)
    assert (scored.predictions, scored.mismatches, scored.unchecked) == (120, 0, [])


def test_a_scorer_that_starts_while_triton_is_down_waits_for_it(bench: ScorerBench, hosted: Hosted, stack) -> None:
    imported(bench, hosted)
    stack.stop("triton")
    try:
        process = bench.start()
        bench.feed(60)
        bench.flush()
        process.wait_for_log("waiting for it")
    finally:
        stack.start("triton")
    hosted.load()
    load_model(bench.pipeline, bench.settings)
    assert_exactly_once(bench)
    process.stop()
    assert {one["route"] for one in bench.predictions()} == {"primary"}


def test_nothing_is_written_of_a_model_that_gives_a_row_another_score_or_is_not_loaded(
    bench: ScorerBench, hosted: Hosted
) -> None:
    def refusal(check_rows: str) -> str:
        done = model(bench, "import", "--triton", hosted.name, "--check-rows", check_rows, *OPTIONS)
        assert done.returncode == 1
        return done.stderr

    assert "1 of 300 rows have another score" in refusal(rows(bench.folder, off=0.01))
    hosted.unload()
    assert f"model {hosted.name} is not ready in Triton" in refusal(rows(bench.folder))
    assert ModelRepository(bench.settings.model_repository).versions(bench.pipeline.model.name) == []
