"""The report is one well-formed file that refers to nothing else, says its verdict, and is readable as it looks."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from examples.demo.evidence import summed
from examples.demo.page import PipelineRun, page
from examples.demo.timeline import Recorder
from tests.examples.demo.browser import CHROMIUM, look_at
from tests.examples.demo.samples import evidence, report, seen
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


@pytest.fixture(scope="module")
def content() -> str:
    return page(report(), {"fraud": seen(), "flights": seen(drift_from_ms=None)}, "penstock demo", 7)


@pytest.fixture(scope="module")
def tree(content: str) -> ET.Element:
    # Void elements are closed, as XML wants it; all else must be well-formed as it stands.
    return ET.fromstring(re.sub(r"<(meta[^>]*)>", r"<\1/>", content.removeprefix("<!doctype html>")))


def test_it_refers_to_nothing_outside_itself(content: str, tree: ET.Element) -> None:
    references = [value for node in tree.iter() for name, value in node.items() if name in ("href", "src")]
    assert all(reference.startswith("#") for reference in references)
    assert not re.search(r"url\(|@import|<script|<link|https?://", content)


def test_every_link_leads_somewhere(tree: ET.Element) -> None:
    places = {node.get("id") for node in tree.iter()}
    assert {node.get("href", "")[1:] for node in tree.iter("a")} <= places


def test_each_pipeline_has_every_plot_with_its_reading_and_marks(tree: ET.Element) -> None:
    for section in tree.iterfind(".//section[@class='pipeline']"):
        titles = [node.text for node in section.iter("h3")]
        assert sorted(titles) == sorted(PLOTS)
        for figure in section.iter("figure"):
            reading = figure.findtext("figcaption/p")
            assert reading
            for plot in figure.iter("svg"):
                if plot.get("aria-hidden"):
                    continue
                assert plot.get("role") == "img"
                assert reading in plot.get("aria-label", "")
                assert any("mark" in node.get("class", "").split() for node in plot.iter())
                assert any(node.text for node in plot.iter("title")), "no tooltips"


def test_it_says_that_it_held(content: str) -> None:
    assert "✓ Held." in content
    assert "<title>Penstock demo: held</title>" in content


def test_it_says_what_did_not_hold_and_quotes_without_running_it() -> None:
    broken = page(report(gaps=3), {"fraud": seen(), "flights": seen()}, "penstock demo", 7)
    assert "✗ Did not hold." in broken
    assert "3 valid events have no prediction" in broken
    assert "&lt;script&gt;" in broken
    assert "<script>" not in broken


def test_drift_is_read_out_with_its_delay_and_false_alarms(tree: ET.Element) -> None:
    fraud, flights = (
        next(f for f in section.iter("figure") if f.findtext("figcaption/h3") == "Drift")
        for section in tree.iterfind(".//section[@class='pipeline']")
    )
    assert "noticed 24 hours of event time later by ADWIN on event.amount_eur" in fraud.findtext("figcaption/p", "")
    assert "false alarms before: 3" in fraud.findtext("figcaption/p", "")
    assert "No drift was injected here" in flights.findtext("figcaption/p", "")


def test_a_run_that_saw_nothing_has_a_page() -> None:
    nothing = Recorder(0.0)
    nothing.phase("history", 0.0)
    no_scores = summed(np.empty(0), np.empty(0, dtype=np.int8), 0.5)
    blank = {"monitors": (), "alerts": (), "importance": (), "before": no_scores, "after": None}
    measured = Measured(events_per_s=0, latencies_ms=[], trained_until_ms=0)
    one = PipelineRun(measured, nothing.timeline(1.0), evidence(None).model_copy(update=blank))
    text = page(report(), {"fraud": one, "flights": one}, "penstock demo", 7)
    assert "No consumer was watched." in text
    assert "The model's manifest does not say." in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_in_a_browser_nothing_overflows_overlaps_or_fades(
    content: str, tmp_path: Path, width: int, scheme: str
) -> None:
    found = look_at(content, tmp_path, width=width, scheme="dark" if scheme == "dark" else "light")
    assert found.pop("dark") == (scheme == "dark")
    assert int(str(found.pop("texts"))) > 300
    assert found == {"overflow": [], "contrast": [], "overlap": []}
