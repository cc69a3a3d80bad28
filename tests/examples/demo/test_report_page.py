"""The report page is one well-formed file without external references, states the result, and is readable."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from examples.demo.evidence import summarise_scores
from examples.demo.report_page import PipelineRun, report_page
from examples.demo.timeline import Recorder
from tests.examples.demo.browser import CHROMIUM, inspect_page
from tests.examples.demo.sample_loop import loop
from tests.examples.demo.sample_rollouts import rollouts
from tests.examples.demo.sample_run import evidence, pipeline_run, report
from verify.measured import Measured

PLOTS = (
    "Throughput",
    "Lag",
    "Latency",
    "Drift",
    "Live latency",
    "Scores",
    "Calibration",
    "Most useful features",
)
ROLLOUT_PLOTS = (
    "Who scored whom",
    "Errors",
    "Latency of calls",
    "Decisions",
    "Quality",
    "Calibration of the candidate",
    "Fairness",
    "Equal scores",
    "Split",
)


@pytest.fixture(scope="module")
def content() -> str:
    fraud = replace(pipeline_run(), rollouts=rollouts(), loop=loop())
    flights = replace(pipeline_run(drift_from_ms=None), loop=loop(trained=False))
    return report_page(report(), {"fraud": fraud, "flights": flights}, "penstock demo", 7)


@pytest.fixture(scope="module")
def tree(content: str) -> ET.Element:
    # Closes void elements, as XML requires; all else must be well-formed.
    return ET.fromstring(re.sub(r"<(meta[^>]*)>", r"<\1/>", content.removeprefix("<!doctype html>")))


def test_it_has_no_external_references(content: str, tree: ET.Element) -> None:
    references = [value for node in tree.iter() for name, value in node.items() if name in ("href", "src")]
    others = {reference for reference in references if not reference.startswith("#")}
    assert others == {"fraud/card.html", "flights/card.html"}, "beside the page are the model cards alone"
    assert not re.search(r"url\(|@import|<script|<link|https?://", content)


def test_every_link_has_a_target(tree: ET.Element) -> None:
    places = {node.get("id") for node in tree.iter()}
    links = {node.get("href", "") for node in tree.iter("a")}
    assert {link[1:] for link in links if link.startswith("#")} <= places


def test_it_tells_what_each_incident_was_and_that_a_fault_trains_nothing(content: str) -> None:
    assert "The cause of inc-2 is concept-drift, for which a training was proposed" in content
    assert "upstream-fault of the column amount: a model must not learn that, so nothing was trained" in content
    assert "first at events.transactions[0]@77" in content
    assert "all steps passed (by controller)" in content
    assert "in the drift" in content


def test_each_pipeline_has_every_plot_with_caption_marks_and_tooltips(tree: ET.Element) -> None:
    for section in tree.iterfind(".//section[@class='pipeline']"):
        titles = [node.text for node in section.iterfind(".//figcaption/h3")]
        expected = (*PLOTS, "Quality over time", *ROLLOUT_PLOTS) if section.get("id") == "fraud" else PLOTS
        assert sorted(titles) == sorted(expected)
        for figure in section.iter("figure"):
            caption = figure.findtext("figcaption/p")
            assert caption
            for plot in figure.iter("svg"):
                if plot.get("aria-hidden"):
                    continue
                assert plot.get("role") == "img"
                assert caption in plot.get("aria-label", "")
                assert any("mark" in node.get("class", "").split() for node in plot.iter())
                assert any(node.text for node in plot.iter("title")), "no tooltips"


def test_it_shows_what_the_gates_said_and_what_would_pass(tree: ET.Element) -> None:
    for section in tree.iterfind(".//section[@class='pipeline']"):
        assert section.findtext("h3/span") == "inconclusive"
        rows = [[cell.text for cell in row.iter("td")] for row in section.iterfind(".//table[@class='gates']/tbody/tr")]
        assert rows[1] == [
            "inconclusive",
            "calibration",
            "all events",
            "1,462",
            "slope 0.93 (0.71 to 1.15)",
            "0.8 to 1.25",
        ]
        assert [row[0] for row in rows] == ["pass", "inconclusive", "fail"]


def test_it_tells_every_change_of_the_policy_with_author_and_reason(tree: ET.Element) -> None:
    rows = [[cell.text for cell in row.iter("td")] for row in tree.iterfind(".//table[@class='changes']/tbody/tr")]
    assert rows[0] == ["1", "3:20", "ada@host", "shadow", "trained on all labels so far"]
    assert [row[3] for row in rows] == ["shadow", "20 %", "50 %", "promoted", "5 %", "rolled back"]


def test_it_says_how_each_rollout_ended(tree: ET.Element) -> None:
    notes = {
        "".join(one.find("dt").itertext()): "".join(one.find("dd").itertext())
        for one in tree.iterfind(".//section[@id='fraud']/dl[3]/div")
    }
    assert notes["version 3, a version whose labels were mixed up"] == (
        "rolled backafter 12 events and 1.5 s; followed by all partitions 0.4 s later. It decided 12 events, of 1 card"
    )


def test_a_pipeline_without_rollouts_has_no_such_section(tree: ET.Element) -> None:
    assert "Rollouts" not in [one.text for one in tree.findall(".//section[@id='flights']//h3[@class='part']")]


def test_it_states_that_the_run_passed(content: str) -> None:
    assert "✓ Passed." in content
    assert "<title>Penstock demo: passed</title>" in content


def test_it_lists_failures_and_escapes_examples() -> None:
    broken = report_page(report(gaps=3), {"fraud": pipeline_run(), "flights": pipeline_run()}, "penstock demo", 7)
    assert "✗ Not passed." in broken
    assert "3 valid events have no prediction" in broken
    assert "&lt;script&gt;" in broken
    assert "<script>" not in broken


def test_the_caption_of_drift_states_the_delay_and_the_false_incidents(tree: ET.Element) -> None:
    fraud, flights = (
        next(f for f in section.iter("figure") if f.findtext("figcaption/h3") == "Drift")
        for section in tree.iterfind(".//section[@class='pipeline']")
    )
    caption = fraud.findtext("figcaption/p", "")
    assert "The first alert came 24 hours of event time later (event.amount_eur, ADWIN)" in caption
    assert "false incidents before: 1" in caption
    assert "no drift was injected" in flights.findtext("figcaption/p", "")


def test_a_run_without_any_data_has_a_page() -> None:
    nothing = Recorder(0.0)
    nothing.begin_phase("history", 0.0)
    no_scores = summarise_scores(np.empty(0), np.empty(0, dtype=np.int8), 0.5)
    blank = {"monitors": (), "alerts": (), "importance": (), "gates": None, "before": no_scores, "after": None}
    measured = Measured(events_per_s=0, latencies_ms=[], trained_until_ms=0)
    one = PipelineRun(measured, nothing.timeline(1.0), evidence(None).model_copy(update=blank))
    text = report_page(report(), {"fraud": one, "flights": one}, "penstock demo", 7)
    assert "No lag was measured." in text
    assert "The model's manifest states no importance." in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_in_a_browser_nothing_overflows_or_overlaps_and_contrast_is_sufficient(
    content: str, tmp_path: Path, width: int, scheme: str
) -> None:
    found = inspect_page(content, tmp_path, width=width, scheme="dark" if scheme == "dark" else "light")
    assert found.pop("dark") == (scheme == "dark")
    assert int(str(found.pop("texts"))) > 300
    assert found == {"overflow": [], "contrast": [], "overlap": []}
