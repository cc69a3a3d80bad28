"""The model card says what a version is and what the gates found, whatever its texts are."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from scoring.gates.card import card
from scoring.gates.gates import Verdict
from scoring.gates.report import Bin, Report
from scoring.trained_model import Importance, ImportManifest, ModelManifest, Provenance, Validation
from tests.scoring.gates.test_report import REPORT

TRAINED = ModelManifest(
    inputs=("event.amount", "spend.mean_1h"),
    views={"spend": "1:abc"},
    libraries={"onnx": "1.20"},
    importance=(
        Importance(input="spend.mean_1h", loss=0.2, spread=0.01),
        Importance(input="event.amount", loss=-0.1, spread=0.0),
    ),
    baseline_inputs=(),
    seed=7,
    data_hash="f00d",
    until_ms=None,
    rows=1_000,
    positives=50,
    iterations=40,
    read={},
    validation=Validation(from_ms=0, rows=200, positives=9, auc=0.91, auc_without_windows=None),
    last_event_ms=1_772_366_400_000,
    offsets={"events.payments": {1: (5, 90), 0: (0, 70)}},
)
IMPORTED = ImportManifest(
    inputs=("event.amount",),
    views={},
    libraries={},
    file="<script>.onnx",
    sha256="beef",
    producer="pytorch 2",
    output="risk",
    column=0,
    nulls={},
    check_rows=20,
    check_sha256="cafe",
    difference=1e-7,
)
BINS = tuple(Bin(tenth / 10, tenth / 11, 123) for tenth in range(10))


def text_of(page: str) -> str:
    return " ".join(
        ET.fromstring(
            page.removeprefix("<!doctype html>")
            .replace('<meta charset="utf-8">', "")
            .replace('<meta name="viewport" content="width=device-width, initial-scale=1">', "")
        ).itertext()
    )


def page_of(manifest: ModelManifest | ImportManifest) -> str:
    report = replace(REPORT, bins=BINS)
    return card(report, manifest, threshold=0.5)


def test_the_card_of_a_trained_version_goes_down_to_the_offsets_of_its_data() -> None:
    text = text_of(page_of(TRAINED))
    for expected in (
        "fraud version 3",
        "2026-03-01 12:00:00 UTC",
        "1,000 events, 50 positive",
        "f00d",
        "[0] 0 to 70, [1] 5 to 90",
        "compared with version 2 (config.pbtxt names it)",
        "left out by the file of gates",
    ):
        assert expected in text
    for result in REPORT.results:
        assert result.limit in text
    assert page_of(TRAINED).count("<circle") == len(BINS)


def test_the_card_says_which_gates_are_behind_the_verdict_and_who_made_the_version_and_when() -> None:
    made = Provenance(made_ms=1_772_366_400_000, author="ada", penstock="1", environment="e")
    refused, unsure = (
        replace(one, gate=gate, verdict=verdict)
        for one, gate, verdict in zip(
            REPORT.results, ("fairness", "drift"), (Verdict.FAIL, Verdict.INCONCLUSIVE), strict=False
        )
    )
    report = replace(REPORT, results=[refused, refused, unsure])
    page = card(report, TRAINED.model_copy(update={"provenance": made}), threshold=0.5)
    text = " ".join(text_of(page).split())
    assert "The gates say: fail : fairness refused it; drift could not tell." in text
    assert "made 2026-03-01 12:00:00 UTC by ada" in text
    assert "What the AUC loses" in text
    passed = replace(report, results=[replace(refused, verdict=Verdict.PASS)])
    assert "The gates say: pass ." in " ".join(text_of(card(passed, TRAINED, threshold=0.5)).split())


def test_the_card_of_a_version_that_was_trained_with_defaults_says_so() -> None:
    said = "with the defaults of inputs from other pipelines"
    assert said not in page_of(TRAINED)
    assert said in page_of(TRAINED.model_copy(update={"with_defaults": True}))


def test_the_card_of_a_regression_has_its_error_and_no_calibration() -> None:
    validation = Validation(from_ms=0, rows=200, positives=0, r2=0.81, mae=12.5)
    manifest = TRAINED.model_copy(update={"task": "regression", "positives": 0, "validation": validation})
    report = Report(REPORT.model, REPORT.version, REPORT.against, REPORT.events, REPORT.results)
    page = card(report, manifest, threshold=20.0)
    assert "1,000 events with values" in page
    assert "R² 0.8100, mean absolute error 12.5 on the latest 200 events" in page
    assert "Calibration" not in page
    assert "What the R² loses" in page


def test_the_card_of_an_imported_version_names_its_file_and_no_text_becomes_markup() -> None:
    page = page_of(IMPORTED)
    assert "<script>" not in page
    assert "<script>.onnx, pytorch 2" in text_of(page)
    assert "Most useful inputs" not in page
    assert Verdict.FAIL.value in page
