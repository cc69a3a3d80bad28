"""What `penstock play` takes and refuses before it sends anything."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli
from penstock.commands import play as module
from penstock.errors import PenstockError
from penstock.playing import progress as progress_module
from penstock.playing.event_order import EventOrder
from penstock.playing.pace import Pace
from penstock.playing.playing import Played
from penstock.playing.progress import ProgressFile
from tests.loop.taps import define
from tests.penstock.playing.test_playing import tap


class Bench:
    """A file, and a play of it that sends so many events of all."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reference = define(folder).reference
        self.file = folder / "taps.jsonl"
        self.calls: list[tuple[int, Pace]] = []
        self.sends = 10**9
        monkeypatch.setattr(progress_module, "home_folder", lambda: folder)
        for name, value in {"require_topics": None, "topic_ids": {}, "_play": self._play}.items():
            monkeypatch.setattr(module, name, value if callable(value) else lambda *_, _found=value, **__: _found)

    def play(self, *options: str) -> Result:
        return CliRunner().invoke(cli, ["play", str(self.file), "--as", self.reference, *options])

    def _play(self, *given: Any) -> int:
        file, target, order, pace, skip, kept, _ = given
        assert isinstance(order, EventOrder)
        assert isinstance(kept, ProgressFile)
        self.calls.append((skip, pace))
        sent = min(skip + self.sends, order.count)
        module._Saving(kept, file, target, order.count, skip).save(sent)
        return sent


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench(tmp_path, monkeypatch)
    found.file.write_text("\n".join(tap(n, n) for n in range(5)))
    return found


def test_an_interrupted_play_goes_on_and_a_complete_one_does_nothing_until_told(bench: Bench) -> None:
    bench.sends = 3
    first = bench.play()
    assert (first.exit_code, "after 3 of 5 events" in first.output) == (130, True)
    assert bench.play("--rate", "9/s").exit_code == 0
    assert bench.play().exit_code == 99
    assert bench.play("--again", "--speed", "60x").exit_code == 130
    assert bench.calls == [(0, Pace(1.0)), (3, Pace(1.0, 9.0)), (0, Pace(60.0))]


def test_other_rows_left_out_are_another_play(bench: Bench) -> None:
    bench.sends = 3
    bench.play()
    bench.file.write_text(bench.file.read_text() + "\nnonsense")
    bench.play("--skip-bad")
    assert [skip for skip, _ in bench.calls] == [0, 0]


def test_one_bad_row_is_named_and_nothing_is_sent(bench: Bench) -> None:
    bench.file.write_text("\n".join([tap(1, 0), tap(2, 0, card=7), *["{"] * 30]))
    refused = bench.play()
    assert isinstance(refused.exception, PenstockError)
    assert refused.exception.what == "31 of 32 rows do not fit contract tap_x"
    assert refused.exception.safe == "nothing was sent"
    assert f"{bench.file}:2: field card: " in refused.output
    assert "... and 11 more" in refused.output
    assert bench.calls == []


def test_speed_and_rate_exclude_each_other_and_have_forms(bench: Bench) -> None:
    for options in (("--speed", "2x", "--rate", "3"), ("--speed", "fast"), ("--rate", "max")):
        assert bench.play(*options).exit_code == 2


def test_outside_a_terminal_it_tells_in_a_line_each_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    telling = module._Telling(lambda: now[0])
    for sent in range(1, 13):
        now[0] = float(sent)
        telling.tell(Played(sent, 12, 0, 0.0))
    assert capsys.readouterr().err.splitlines() == [f"{sent} of 12 sent, at 1970-01-01 00:00:00" for sent in (5, 10)]


@pytest.mark.parametrize(("pace", "said"), [(Pace(math.inf), "as fast as possible"), (Pace(60), "at this pace 10 s")])
def test_at_the_greatest_speed_nothing_is_estimated(pace: Pace, said: str) -> None:
    with EventOrder() as order:
        for time_ms in (0, 600_000):
            order.add(time_ms, 1, "{}")
        assert module._how_long(pace, order).startswith(said)
