"""What `penstock ps` and `penstock top` print, and what they refuse."""

from __future__ import annotations

import io

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from penstock.commands.running import looking
from penstock.commands.running.looking import _table, top
from penstock.errors import PenstockError
from penstock.running.record import PartRecord, RunRecord


def test_a_reason_is_shown_as_it_is_although_it_looks_like_markup() -> None:
    part = PartRecord(name="scorer", state="given up", since_ms=0, reason="no [/x] \x1b[1m", next="penstock [/y]")
    record = RunRecord(
        pipeline="ads", reference="ads", cwd="/", mark="m", boot="b", pid=1, start_time=1, began_ms=0, parts=(part,)
    )
    out = io.StringIO()
    Console(file=out, width=300).print(_table([(record, True)]))
    assert "no [/x] \\x1b[1m; next: penstock [/y]" in out.getvalue()


@pytest.mark.parametrize("address", ["[::1:90", "host:port", "host:1/metrics", ":90", "http://host:90"])
def test_an_address_of_metrics_that_is_none_is_refused(address: str) -> None:
    result = CliRunner().invoke(top, ["fraud", "--metrics", address])
    assert result.exit_code == click.UsageError.exit_code
    assert "is not HOST:PORT" in result.output


def test_without_kafka_the_screen_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreached(*_: object) -> dict[str, int]:
        raise PenstockError("Kafka cannot be reached")

    monkeypatch.setattr(looking, "partition_counts", unreached)
    monkeypatch.setattr(looking, "Measuring", None)
    assert str(CliRunner().invoke(top, ["fraud"]).exception) == "Kafka cannot be reached"
