"""A cascade on real Kafka and Triton, while everything that can fail does: each event is predicted once, by its route.

In the tests this is a few thousand events; ``make proof`` sends 200,000.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.settings import Settings
from scoring.bands import ChosenBand, keep_band
from scoring.repository import ModelRepository
from scoring.servers.registry import PRIMARY_SERVER, open_server
from streams.definitions.loading import load_pipeline
from tests.integration.test_scoring import EAGER
from tests.integration.verified import verified, verified_cascade
from tests.scoring.crashing_scorer import POINTS
from tests.scoring.scorer_bench import (
    NEVER_SCORED,
    ScorerBench,
    add_model,
    define,
    load_model,
    penstock,
    unload_model,
    wait_for,
)
from verify.check_predictions import PredictionFindings

PARTITIONS, LETTERS = 3, 9
EVENTS = int(os.environ.get("PENSTOCK_PROOF_EVENTS", "6000"))
STRONG_WEIGHTS = np.array([[0.5], [0.1], [-0.25]], dtype=np.float32)


@pytest.fixture
def bench(settings: Settings, suffix: str, tmp_path: Path) -> Iterator[ScorerBench]:
    """A pipeline with a cascade, without models."""
    reference, pipeline = define(tmp_path, suffix, PARTITIONS, f'strong="taps_{suffix}_strong", audit=0.1')
    bench = ScorerBench(reference, pipeline, settings, tmp_path)
    bench.create_topics()
    yield bench
    for model in (pipeline, strong(bench)):
        with contextlib.suppress(Exception):  # if it fails, the test has failed already
            unload_model(model, settings)


def strong(bench: ScorerBench) -> Any:
    """The pipeline with its strong model."""
    return load_pipeline(f"{bench.reference}:strong")


def add_models(bench: ScorerBench) -> None:
    add_model(bench.pipeline, bench.settings)
    load_model(bench.pipeline, bench.settings)
    add_model(strong(bench), bench.settings, weights=STRONG_WEIGHTS)
    load_model(strong(bench), bench.settings)


def choose_band(bench: ScorerBench, fast: int, low: float = 0.4, high: float = 0.8) -> None:
    model = bench.pipeline.model
    assert model.cascade is not None
    chosen = ChosenBand(
        time_ms=1,
        fast=fast,
        strong=model.cascade.strong,
        strong_version=1,
        threshold=model.threshold,
        limit=0.001,
        holdout="",
        low=low,
        high=high,
        events=10_000,
        in_band=1_000,
        differing=0,
        bound=0.0003,
        alpha=0.05,
    )
    keep_band(ModelRepository(bench.settings.model_repository), model.name, chosen)


def test_without_a_band_a_scorer_names_the_versions_and_the_command(bench: ScorerBench) -> None:
    add_models(bench)
    said = bench.start().wait_for_error()
    assert f"no band was chosen for {bench.pipeline.model.name} version 1 and" in said
    assert f"penstock model band {bench.reference} --backfill FOLDER" in said


def is_in_band(way: dict[str, Any]) -> bool:
    return bool(way["low"] <= way["fast_score"] < way["high"])


def decide_by_the_fast_model(value: dict[str, Any]) -> bool:
    way = value["cascade"]
    changed = {"model_version": way["fast_version"], "score": way["fast_score"], "model": value["pipeline"]}
    value.update(changed)
    return is_in_band(way)


def name_another_version(value: dict[str, Any]) -> bool:
    value["cascade"]["fast_version"] = "2" if value["cascade"]["fast_version"] == "1" else "1"
    return not is_in_band(value["cascade"])


def move_the_band(value: dict[str, Any]) -> bool:
    value["cascade"]["high"] += 0.01
    return True


def do_not_count_the_regret(value: dict[str, Any]) -> bool:
    was_audited = bool(value["cascade"]["audited"])
    value["cascade"].update(audited=False, strong_score=None)
    return was_audited


def audit_another_event(value: dict[str, Any]) -> bool:
    was_clear = not (value["cascade"]["audited"] or is_in_band(value["cascade"]))
    value["cascade"].update(audited=True, strong_score=value["cascade"]["fast_score"])
    return was_clear


def improve_the_regret(value: dict[str, Any]) -> bool:
    differs = abs(value["cascade"]["fast_score"] - (value["cascade"]["strong_score"] or 0)) > 0.001
    was_audited = bool(value["cascade"]["audited"])
    value["cascade"]["strong_score"] = value["cascade"]["fast_score"]
    return was_audited and differs


def lose_the_cascade(value: dict[str, Any]) -> bool:
    value["cascade"] = None
    return True


# What changes a prediction; it returns whether this is wrong of the prediction that it was given.
MUTANTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    mutant.__name__: mutant
    for mutant in (
        decide_by_the_fast_model,
        name_another_version,
        move_the_band,
        do_not_count_the_regret,
        audit_another_event,
        improve_the_regret,
        lose_the_cascade,
    )
}


def sabotaged(found: PredictionFindings, mutant: Callable[[dict[str, Any]], bool]) -> PredictionFindings:
    """The predictions, of which the last that it can make wrong is changed."""
    for row in reversed(range(len(found.judged))):
        prediction, vector = found.judged[row]
        value = copy.deepcopy(dict(prediction.value))
        if mutant(value):
            changed = replace(prediction, value=value), vector
            return replace(found, judged=[*found.judged[:row], changed, *found.judged[row + 1 :]])
    raise AssertionError(f"{mutant} has nothing to change")


# What Triton may answer instead of its scores, and what the scorer then says.
NONSENSE = {
    "np.full_like(scores, np.nan)": "it returned no finite number for",
    "np.repeat(scores, 2, axis=1)": "2 numbers came for each row, the version has 1",
    "scores[:-1]": "rows were sent, and float32 of shape",
}


class Trials:
    """What happens to a cascade under load: each ends with all that it broke working again.

    ``emitted`` are the events that they emit themselves.
    """

    def __init__(self, bench: ScorerBench, stack: Any) -> None:
        self._bench = bench
        self._stack = stack
        self.emitted: list[tuple[int, int]] = []

    def all(self) -> list[Callable[[], None]]:
        return [
            *(partial(self._crash, point) for point in POINTS),
            self._rebalance,
            partial(self._while_scoring, partial(self._stack.restart, "kafka")),
            partial(self._while_scoring, self._restart_triton),
            partial(self._while_scoring, self._freeze_triton, "--deadline-ms", "300"),
            *(partial(self._answer_nonsense, answer, said) for answer, said in NONSENSE.items()),
            partial(self._while_scoring, self._refuse),
            partial(self._while_scoring, self._replace_model),
            partial(self._while_scoring, self._replay),
        ]

    def _while_scoring(self, trial: Callable[[], None], *options: str) -> None:
        with self._bench.scoring("0", *EAGER, *options) as process:
            process.wait_for_log("assigned")
            trial()

    def _crash(self, point: str) -> None:
        doomed = self._bench.start("0", *EAGER, module=("tests.scoring.crashing_scorer", point, "2"))
        assert doomed.process.wait(120) == -signal.SIGKILL, doomed.log()

    def _rebalance(self) -> None:
        members = [self._bench.start(name, *EAGER) for name in "abc"]
        for member in members:
            member.wait_for_log("assigned")
        members[1].kill()
        members[2].stop()
        members[0].stop()

    def _restart_triton(self) -> None:
        self._stack.stop("triton")
        self._stack.start("triton")
        load_model(self._bench.pipeline, self._bench.settings)
        load_model(strong(self._bench), self._bench.settings)

    def _freeze_triton(self) -> None:
        frozen = self._stack.pid("triton")
        os.kill(frozen, signal.SIGSTOP)
        try:
            time.sleep(2)
        finally:
            os.kill(frozen, signal.SIGCONT)

    def _answer_nonsense(self, answer: str, said: str) -> None:
        with self._bench.scoring("0", *EAGER) as process:
            process.wait_for_log("assigned")
            with answering(self._bench, answer):
                deadline = time.monotonic() + 60
                while said not in process.log():
                    assert time.monotonic() < deadline, process.log()
                    self._emit()
                    time.sleep(0.05)

    def _emit(self, amount: float = 1.0) -> None:
        """Emit an event of its own: the feed runs at the same time. Its score is below the band."""
        event = len(self.emitted) % PARTITIONS, 10_000_000 + len(self.emitted)
        activity = self._bench.record(*event)["activity"] | {"amount_sum_1h": None, "count_1h": 16}
        self._bench.emit(*event, event={"amount": amount}, activity=activity)
        self.emitted.append(event)

    def _refuse(self) -> None:
        for _ in range(LETTERS):
            self._emit(NEVER_SCORED)
        wait_for(lambda: len(self._bench.dead_letters()) == LETTERS, 90, "the letters of events without a number")

    def _replace_model(self) -> None:
        add_model(self._bench.pipeline, self._bench.settings, scores_all=True)
        load_model(self._bench.pipeline, self._bench.settings)
        choose_band(self._bench, 2, low=0.45)

    def _replay(self) -> None:
        for transaction in ("1", "2"):
            done = penstock("dlq", "replay", self._bench.reference, crash=("before_commit", transaction))
            assert done.returncode == -signal.SIGKILL, done.stderr
        for _ in range(2):
            done = penstock("dlq", "replay", self._bench.reference)
            assert done.returncode in (0, 99), done.stderr


@pytest.mark.timeout(1_800)
def test_whatever_fails_each_event_is_predicted_once_by_the_model_of_its_route(bench: ScorerBench, stack: Any) -> None:
    add_models(bench)
    choose_band(bench, 1)
    trials = Trials(bench, stack)
    steps = trials.all()
    for step, share in zip(steps, shares(EVENTS, len(steps)), strict=True):
        feeder = threading.Thread(target=feed, args=(bench, share))
        feeder.start()
        step()
        feeder.join()
    with bench.scoring() as process:
        process.wait_for_log("assigned")
        bench.wait_until_drained(300)

    answered = Counter(bench.scored_events())
    assert sorted(answered) == sorted([*bench.sent, *trials.emitted])
    assert set(answered.values()) == {1}
    assert len(bench.sent) == EVENTS
    events = EVENTS + len(trials.emitted)
    found, unscored = verified(bench)
    assert (found.predictions, found.examples, found.gaps, found.unchecked) == (events, [], 0, [])
    assert (unscored.examples, unscored.unchecked) == ([], [])
    ways = verified_cascade(bench, found)
    assert (ways.predictions, ways.examples, ways.unchecked) == (events, [], [])
    assert min(ways.by_strong, ways.audited, ways.differing) > 0
    assert_in_order(bench)
    for name, sabotage in MUTANTS.items():
        assert verified_cascade(bench, sabotaged(found, sabotage)).mismatches, f"{name} is not found"
    said = penstock("model", "regret", bench.reference, "--json")
    regrets = json.loads(said.stdout)
    assert {(one["fast_version"], one["low"]) for one in regrets} == {("1", 0.4), ("2", 0.45)}
    assert sum(one["predictions"] for one in regrets) == events
    assert sum(one["by_strong"] for one in regrets) == ways.by_strong
    assert sum(one["audit"]["audited"] for one in regrets) == ways.audited
    assert sum(one["audit"]["differing"] for one in regrets) == ways.differing


@contextlib.contextmanager
def answering(bench: ScorerBench, answer: str) -> Iterator[None]:
    """Triton answers this, of the fast model's ``scores``, for the duration of the block."""
    repository, model = ModelRepository(bench.settings.model_repository), bench.pipeline.model.name
    served = repository.metadata(model)
    file = repository.folder(model, served.version) / "model.py"
    before = file.read_text(encoding="utf-8")
    assert before.count("return scores\n") == 1

    def serve(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        with contextlib.closing(open_server(PRIMARY_SERVER, bench.settings)) as server:
            server.load(served)

    serve(before.replace("return scores\n", f"return {answer}\n"))
    try:
        yield
    finally:
        serve(before)


def shares(events: int, parts: int) -> Iterator[int]:
    """The events of each part, as equal as can be."""
    ends = [events * part // parts for part in range(parts + 1)]
    return (end - begin for begin, end in itertools.pairwise(ends))


def feed(bench: ScorerBench, events: int) -> None:
    """Send events in bursts, so that a step meets several batches."""
    for begin in range(0, events, 50):
        bench.feed(min(50, events - begin))
        time.sleep(0.01)
    bench.flush()


def assert_in_order(bench: ScorerBench) -> None:
    """The predictions of a partition, and so of each entity, are in the order of their events; replays come later."""
    latest: dict[int, int] = {}
    for prediction in bench.predictions():
        source = prediction["source"]
        if source["offset"] < 10_000_000:
            assert source["offset"] > latest.get(source["partition"], -1), prediction["event_id"]
            latest[source["partition"]] = source["offset"]
