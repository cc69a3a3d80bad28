"""What `penstock verify` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result

from penstock.commands import verify as module
from tests.verify.test_report import HELD
from verify.report import CascadeReport, PipelineReport, RolloutReport


class Inline:
    """Runs the checks in this process."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        return type("Done", (), {"result": lambda _: result})()


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(module, "_verify", lambda *_, **__: PipelineReport(**HELD))


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(module.verify, arguments)


def test_it_prints_the_verdict_and_what_was_compared_for_people() -> None:
    shown = verify("ads/pipeline.py")
    assert shown.exit_code == 0, shown.output
    first, *others = shown.output.splitlines()
    assert first == "ads/pipeline.py: passed"
    assert [line.split()[0] for line in others] == [
        "events",
        "features",
        "predictions",
        "stores",
        "backfill",
        "training",
        "gates",
        "drift",
    ]
    assert "{" not in shown.output


def test_of_a_pipeline_with_a_cascade_it_prints_what_the_strong_model_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    report = PipelineReport(**HELD, cascade=CascadeReport(by_strong=1_200, audited=90, differing=2))
    monkeypatch.setattr(module, "_verify", lambda *_, **__: report)
    shown = [line for line in verify("ads").output.splitlines() if line.startswith("  cascade")]
    said = "1,200 by the strong model, which would decide 2 of 90 audited clear cases differently"
    assert shown == [f"  cascade      {said}"]


def test_of_a_pipeline_with_rollouts_it_prints_what_they_served(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"changes": 3, "markers": 9, "refusals": 1, "corrections": 5}
    rollout = RolloutReport(**counts, predictions=1_200, by_champion=4, explored=12, shadows=400, shadows_missing=2)
    monkeypatch.setattr(module, "_verify", lambda *_, **__: PipelineReport(**HELD, rollout=rollout))
    shown = [line for line in verify("ads").output.splitlines() if line.startswith("  rollout")]
    assert shown == ["  rollout      3 changes, 1,200 predictions by arms, 12 explored; 400 in shadow, 2 missing there"]


def test_several_backfills_and_training_sets_of_a_pipeline_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, object] = {}

    def record(name: str, _: object, backfills: object, training_sets: object, **__: object) -> PipelineReport:
        taken[name] = backfills, training_sets
        return PipelineReport(**HELD)

    monkeypatch.setattr(module, "_verify", record)
    verify("fraud", "ads", "--backfill", "fraud=a", "--backfill", "fraud=b", "--training-set", "ads=c")
    assert taken == {"fraud": ([Path("a"), Path("b")], []), "ads": ([], [Path("c")])}


def test_training_sets_that_were_built_again_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    report = PipelineReport(**HELD, built_sets=2, built_sets_checked=1)
    monkeypatch.setattr(module, "_verify", lambda *_, **__: report)
    assert "  built sets   1 of 2 given training sets built again\n" in verify("ads").output


def test_what_was_not_built_again_for_lack_of_a_backfill_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    report = PipelineReport(**{**HELD, "training_sets": 4, "training_sets_checked": 3, "gate_reports": 0})
    monkeypatch.setattr(module, "_verify", lambda *_, **__: report)
    training, gates = (
        line.strip() for line in verify("ads").output.splitlines() if line.startswith(("  training", "  gates"))
    )
    more = "for more, also give --backfill the folders that they are of"
    assert training == f"training     3 of 4 training sets built again; {more}"
    assert gates == "gates        0 of 0 reports judged again"


@pytest.mark.parametrize("text", ["build/backfill", "fraud=build/backfill", "ads/pipeline.py="])
def test_a_backfill_that_names_no_pipeline_as_it_was_given_is_refused_with_what_to_write(text: str) -> None:
    refused = verify("ads/pipeline.py", "flights", "--backfill", text)
    assert refused.exit_code == 2
    assert "--backfill" in refused.output
    assert "write ads/pipeline.py=FOLDER or flights=FOLDER" in refused.output
