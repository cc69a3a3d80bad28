"""What `penstock drift status` says of alerts and their incidents."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from penstock.commands import drift as command
from penstock.kafka.reading import Record
from streams.drift import app
from streams.drift.data_quality.quality_store import NotLearntError
from tests.loop.taps import Taps, define
from tests.streams.drift.data_quality.parcels import DEFINITION


def test_alerts_are_counted_by_their_incidents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taps = Taps(define(tmp_path))
    for number in (10, 20, 30_000):  # two within minutes, one weeks later
        taps.alarm(number)
    values = taps.topics[taps.project.pipeline.drift_topic]
    reference = SimpleNamespace(model="taps_x", until_ms=0, monitors=(), refusals=list)
    monkeypatch.setattr(app, "serving_reference", lambda *_: (reference, 1))
    monkeypatch.setattr(command, "read_latest_states", lambda *_: {})
    monkeypatch.setattr(command, "resume_point", lambda *_: SimpleNamespace(state=None))
    monkeypatch.setattr(command, "read_topic", lambda *_: [Record(0, 0, -1, None, value, ()) for value in values])
    shown = CliRunner().invoke(command.status, [taps.project.reference, "--alerts", "1"])
    assert shown.exception is None, shown.output
    assert "3 alerts in 2 incidents, 0 open; the latest:" in shown.output


def test_the_state_of_data_quality_is_shown_where_it_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "parcels_y.py"
    path.write_text(DEFINITION.format(suffix="y"), encoding="utf-8")
    reference = SimpleNamespace(model="parcels_y", until_ms=0, monitors=(), refusals=list)
    topic = SimpleNamespace(observed=7, newest_ms=0, over={"|:silence": [0]})
    watch = SimpleNamespace(topics={"events.y": topic}, reference=SimpleNamespace(topics=()), open_incident="i")
    monkeypatch.setattr(app, "serving_reference", lambda *_: (reference, 1))
    monkeypatch.setattr(command, "read_latest_states", lambda *_: {})
    monkeypatch.setattr(command, "read_topic", lambda *_: [])
    monkeypatch.setattr(command, "saved_watch", lambda *_: watch)
    shown = CliRunner().invoke(command.status, [str(path)])
    assert shown.exception is None, shown.output
    assert "events.y       7  -      silence" in shown.output


def test_the_status_is_shown_before_raw_events_were_profiled_and_says_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotLearntError("nothing is known", next="penstock data-quality profile parcels_y.py")

    path = tmp_path / "parcels_y.py"
    path.write_text(DEFINITION.format(suffix="y"), encoding="utf-8")
    reference = SimpleNamespace(model="parcels_y", until_ms=0, monitors=(), refusals=list)
    monkeypatch.setattr(app, "serving_reference", lambda *_: (reference, 1))
    monkeypatch.setattr(command, "read_latest_states", lambda *_: {})
    monkeypatch.setattr(command, "read_topic", lambda *_: [])
    monkeypatch.setattr(command, "saved_watch", fail)
    shown = CliRunner().invoke(command.status, [str(path)])
    assert shown.exception is None, shown.output
    assert "not watched: nothing is known; next: penstock data-quality profile" in shown.output
    assert "0 alerts" in shown.output
