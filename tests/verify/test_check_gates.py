"""Reports of gates hold if nobody edited them; every way to forge one, or a promotion, is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from penstock.kafka.reading import Record
from scoring.alias_history import Cause, record
from scoring.gates.gates import Holdout, Limits, judge_calibration, judge_freshness, judge_quality, judge_robustness
from scoring.gates.report import Basis, Report
from scoring.gates.stored_reports import store
from scoring.label_maturity import ANY_AGE, Maturity
from scoring.repository import ModelRepository
from scoring.training_set import FeatureRow, LabelRow, TrainingSet, join, view_versions
from scoring.version_files import content_hash
from streams.definitions.pipeline import Model
from tests.plans import make_plan, view_of
from tests.verify.test_check_training import COUNT
from verify.check_gates import GateFindings, check_gates
from verify.hosted import Scorer
from verify.labels import Label, LabelHistory
from verify.run_data import BackfillData

PLAN = make_plan(fields=[], views=[view_of(COUNT | {"window_ms": 1_000, "hop_ms": 10, "type": "long"})])
INPUTS = ("event.x", "v.n")
MODEL = Model(name="m", inputs=INPUTS, threshold=0.5, positive="block", negative="pass")
ROWS, TRAINED_TO = 400, 99
X = np.random.default_rng(3).random(ROWS)
TRUTH = np.random.default_rng(4).random(ROWS) < X
LENIENT = Limits(slices=2, slope=(0.3, 3.0), calibration_error=0.5)


def good(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors[:, :1]


def worse(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """It has no number for the largest values."""
    return np.where(vectors[:, :1] > 0.98, np.nan, 1 - vectors[:, :1])


SCORERS: dict[str, Scorer] = {"1": worse, "2": good}


def events(task: Any, maturity: Maturity = ANY_AGE) -> TrainingSet:
    rows = [
        FeatureRow(f"e{n}", n, n, 0, (0, n), np.array([x, n + 1], np.float32)) for n, x in enumerate(X.astype("<f4"))
    ]
    of_task: Callable[[bool], Any] = {"multiclass": lambda one: ["no", "yes"][one]}.get(task, float)
    return join(
        rows,
        [LabelRow(f"e{n}", n + 1, (n,), of_task(bool(one))) for n, one in enumerate(TRUTH)],
        inputs=INPUTS,
        views=view_versions(PLAN, INPUTS),
        until_ms=None,
        task=task,
        positive="yes" if task == "multiclass" else None,
        maturity=maturity,
    )


class World:
    """A repository with two versions, of which the second was judged beside the first and promoted."""

    def __init__(
        self,
        root: Path,
        task: Any = "binary",
        limits: Limits = LENIENT,
        override: Any = None,
        maturity: Maturity = ANY_AGE,
    ) -> None:
        self.root, self.task = root, task
        positive = "yes" if task == "multiclass" else None
        labels = SimpleNamespace(task=task, positive=positive, horizon=maturity.horizon_ms, absent=maturity.absent)
        self.pipeline: Any = SimpleNamespace(model=MODEL, labels=labels)
        for version in ("1", "2"):
            (root / "m" / version).mkdir(parents=True)
            manifest = {"inputs": INPUTS, "until_ms": TRAINED_TO, "kind": "trained"}
            (root / "m" / version / "manifest.json").write_text(json.dumps(manifest))
        found = events(task, maturity)
        later = found.rows(found.event_times > TRAINED_TO)
        own, present = (SCORERS[version](later.X)[:, 0].astype(np.float64) for version in ("2", "1"))
        finite = np.isfinite(present)
        judged = Holdout(later.event_times, later.truth, own, present, 0.5, {}, is_regression=task == "regression")
        judged = judged.rows(finite)
        results = [
            *judge_robustness({"zeros": 0.5}, own, {}),
            *judge_quality(judged, limits),
            *judge_calibration(judged, limits),
            judge_freshness(TRAINED_TO, ROWS, limits),
        ]
        basis = Basis("bytes", "others", "limits", "backfill", found.data_hash, 0.5, 0, "1", labels=ROWS)
        self.report = Report("m", 2, 1, len(later), results, (), basis)
        repository = ModelRepository(root)
        self.hash = store(repository, self.report, made_ms=5)
        record(repository, "m", {"champion": 1}, Cause("train", time_ms=1))
        record(repository, "m", {"champion": 2}, Cause("promote", self.hash, override, 7))

    @property
    def file(self) -> Path:
        (found,) = (self.root / "m" / "reports" / "2").iterdir()
        return found

    def check(self, x: npt.NDArray[np.float64] = X, later: Sequence[tuple[str, bool]] = ()) -> GateFindings:
        rows = pa.table(
            {
                "event_id": [f"e{n}" for n in range(ROWS)],
                "event_time": pa.array(range(ROWS), pa.timestamp("ms")),
                "source.timestamp": pa.array([0] * ROWS, pa.timestamp("ms")),
                "source.partition": [0] * ROWS,
                "source.offset": list(range(ROWS)),
                "event.x": x,
                "v.as_of": pa.array(range(ROWS), pa.timestamp("ms")),
                "v.n": list(range(1, ROWS + 1)),
            }
        )
        backfill = BackfillData(0, ROWS, ("v",), (), ROWS, rows)
        readers: dict[str, Callable[[bool], Label]] = {
            "multiclass": lambda one: ["no", "yes"][one],
            "regression": float,
        }
        of_task = readers.get(self.task, int)

        def known(sources: Sequence[Sequence[Record]]) -> LabelHistory:
            read = [(*json.loads(record.value or b""), record.offset) for record in sources[0]]
            return LabelHistory(
                {event_id: [((offset + 1,), of_task(label))] for event_id, label, offset in read}, len(read)
            )

        labels = [(f"e{n}", bool(one)) for n, one in enumerate(TRUTH)] + list(later)
        records = [Record(0, n, n, None, json.dumps(label).encode(), ()) for n, label in enumerate(labels)]
        return check_gates(
            PLAN, self.pipeline, self.root, [backfill], [records], known, lambda _, version: SCORERS[version]
        )

    def forge(self, change: Callable[[dict[str, Any]], None], *, sealed: bool = True) -> None:
        """Edit the report; its hash fits again if it is ``sealed``, and the history names it."""
        content = json.loads(self.file.read_text())
        change(content["report"])
        if sealed:
            content["hash"] = content_hash({key: value for key, value in content.items() if key != "hash"})
            history = self.root / "m" / "history.jsonl"
            history.write_text(history.read_text().replace(self.hash, content["hash"]))
        self.file.write_text(json.dumps(content))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_report_that_nobody_edited_holds_and_its_losses_are_computed_again(tmp_path: Path, task: str) -> None:
    world = World(tmp_path, task)
    assert world.report.verdict.value == "pass", world.report.results
    findings = world.check()
    assert (findings.reports, findings.checked, findings.examples) == (1, 1, [])


def test_of_labels_with_a_horizon_the_mature_events_are_judged_again(tmp_path: Path) -> None:
    world = World(tmp_path, maturity=Maturity(30, "negative"))
    assert len(events("binary", Maturity(30, "negative"))) == ROWS - 29
    findings = world.check()
    assert (findings.checked, findings.examples) == (1, [])


@pytest.mark.parametrize("loss", ["brier", "log"])
def test_a_version_that_is_worse_is_no_finding_as_long_as_the_report_says_so(tmp_path: Path, loss: Any) -> None:
    world = World(tmp_path, limits=Limits(slices=3, loss=loss, slope=(3.0, 4.0)), override="we know better")
    assert world.report.verdict.value == "fail"
    findings = world.check()
    assert (findings.checked, findings.examples) == (1, [])


def test_labels_that_came_after_the_report_do_not_count(tmp_path: Path) -> None:
    findings = World(tmp_path).check(later=[("e300", not TRUTH[300])])
    assert (findings.checked, findings.examples) == (1, [])


def test_other_events_than_the_report_is_of_are_not_judged(tmp_path: Path) -> None:
    findings = World(tmp_path).check(X + 1)
    assert (findings.reports, findings.checked, findings.examples) == (1, 0, [])


def first_of(report: dict[str, Any], gate: str) -> dict[str, Any]:
    return next(one for one in report["gates"] if one["gate"] == gate)


def say_a_lower_loss(report: dict[str, Any]) -> None:
    first_of(report, "quality").update(estimate=-0.9, low=-0.95, high=-0.85)


def say_more_events(report: dict[str, Any]) -> None:
    first_of(report, "quality")["n"] += 1


def leave_out_the_losses(report: dict[str, Any]) -> None:
    report["gates"] = [one for one in report["gates"] if one["gate"] != "quality"]


def let_a_gate_pass(report: dict[str, Any]) -> None:
    first_of(report, "calibration").update(low=0.1, high=9.0)


def let_a_gate_pass_without_numbers(report: dict[str, Any]) -> None:
    first_of(report, "quality").update(estimate=None, low=None, high=None)


def let_a_row_without_a_number_pass(report: dict[str, Any]) -> None:
    first_of(report, "robustness").update(estimate=3.0, low=3.0, high=3.0)


def say_another_verdict(report: dict[str, Any]) -> None:
    report["verdict"] = "fail"


def say_another_version(report: dict[str, Any]) -> None:
    report["version"] = 1


@pytest.mark.parametrize(
    "forgery",
    [
        say_a_lower_loss,
        say_more_events,
        leave_out_the_losses,
        let_a_gate_pass,
        let_a_gate_pass_without_numbers,
        let_a_row_without_a_number_pass,
        say_another_verdict,
        say_another_version,
    ],
    ids=lambda forgery: forgery.__name__,
)
def test_a_forged_report_is_found_although_its_hash_fits_and_the_history_names_it(
    tmp_path: Path, forgery: Callable[[dict[str, Any]], None]
) -> None:
    world = World(tmp_path)
    world.forge(forgery)
    assert world.check().mismatches > 0


def test_an_edit_of_the_text_alone_is_found_by_the_hash(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.forge(lambda report: report.update(why_against="it is the best"), sealed=False)
    assert ["its hash is not that of its content" in one for one in world.check().examples] == [True, False]


def test_a_promotion_on_a_report_that_was_deleted_is_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.file.unlink()
    assert world.check().examples == [
        "model m: line 2 of history.jsonl: version 2 was promoted on a report that does not exist"
    ]


def test_a_promotion_on_a_report_that_does_not_pass_is_found_unless_it_was_overridden(tmp_path: Path) -> None:
    limits = Limits(slope=(3.0, 4.0))
    assert World(tmp_path / "overridden", limits=limits, override="we know better").check().examples == []
    assert World(tmp_path / "not", limits=limits).check().examples == [
        "model m: line 2 of history.jsonl: version 2 was promoted on a report that says fail, and nobody overrode it"
    ]


def test_a_line_of_the_history_is_found_if_it_is_no_change_but_not_one_that_a_killed_process_left(
    tmp_path: Path,
) -> None:
    limits = Limits(slope=(3.0, 4.0))
    history = tmp_path / "m" / "history.jsonl"
    # A line break to some programs, and none to those of lines of JSON.
    world = World(tmp_path, limits=limits, override="we\u2028know better")
    history.write_text(history.read_text() + '{"alias": "champ')
    assert world.check().examples == []
    history.write_text(history.read_text() + "\n[]\n")
    assert world.check().examples == [f"model m: line {n} of history.jsonl is no change of an alias" for n in (3, 4)]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"hash": "", "report": {"version": 2, "gates": [{}]}}'])
def test_a_file_that_is_no_report_is_a_finding(tmp_path: Path, text: str) -> None:
    world = World(tmp_path)
    (world.file.parent / "8-other.json").write_text(text)
    assert any("it is none" in one for one in world.check().examples)
