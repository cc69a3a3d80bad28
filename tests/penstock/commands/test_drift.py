"""What `penstock drift status` says of alerts and their incidents."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from penstock.commands import drift as command
from penstock.kafka.reading import Record
from streams.drift import app
from tests.loop.taps import Taps, define


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
