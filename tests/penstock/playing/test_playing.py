"""Rows are checked before the first is sent, and sent when they are due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.playing import progress as progress_module
from penstock.playing.event_order import EventOrder
from penstock.playing.pace import Pace
from penstock.playing.playing import BadRow, Played, check_rows, play
from penstock.playing.progress import Progress, ProgressFile, digest_of
from penstock.playing.target import target_of
from schemas.contract import Contract
from tests.loop.taps import BEGIN_MS, define


class Stage:
    """A topic, a clock and a person of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.target = target_of(define(folder).pipeline, None, "taps")
        self.now = 0.0
        self.sent: list[tuple[float, str]] = []
        self.flushed = 0
        self.saved: list[int] = []
        self.told: list[Played] = []
        self.stop_after = 10**9

    def send(self, event: Contract) -> None:
        self.sent.append((self.now, event.model_dump()["tap_id"]))

    def flush(self) -> None:
        self.flushed = len(self.sent)

    def play(self, order: EventOrder, pace: Pace, skip: int = 0) -> int:
        return play(
            order,
            self.target.contract,
            self,
            pace,
            skip=skip,
            save=self._save,
            tell=self.told.append,
            wait=self._wait,
            clock=lambda: self.now,
        )

    def _save(self, sent: int) -> None:
        assert self.flushed == len(self.sent), "only what Kafka has is saved"
        self.saved.append(sent)

    def _wait(self, seconds: float) -> bool:
        assert seconds <= 0.2, "a long wait would not notice a signal"
        self.now += seconds
        return len(self.sent) >= self.stop_after


def tap(number: int, after_ms: int, **rest: Any) -> str:
    given = {"tap_id": f"t{number}", "event_time": BEGIN_MS + after_ms, "card": "c", "shop": 1, "amount": 1.5}
    return json.dumps(given | rest)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def ordered(stage: Stage, *lines: str, path: Path) -> EventOrder:
    path.write_text("\n".join(lines))
    order = EventOrder()
    assert check_rows(path, stage.target, order, 9) == ([], 0)
    return order


def test_events_are_sent_in_event_order_when_they_are_due(stage: Stage, tmp_path: Path) -> None:
    order = ordered(stage, tap(1, 0), tap(3, 120_000), tap(2, 60_000), path=tmp_path / "x.jsonl")
    assert stage.play(order, Pace(speed=60)) == 3
    assert [name for _, name in stage.sent] == ["t1", "t2", "t3"]
    assert [at for at, _ in stage.sent] == pytest.approx([0, 1, 2])
    assert stage.saved[-1] == 3
    assert max(played.late_s for played in stage.told) < 0.01


def test_what_was_sent_before_is_passed_over_and_the_next_is_due_at_once(stage: Stage, tmp_path: Path) -> None:
    order = ordered(stage, *(tap(n, n * 60_000) for n in range(4)), path=tmp_path / "x.jsonl")
    for pace in (Pace(speed=60), Pace(rate=1)):
        stage.now, stage.sent = 0.0, []
        assert stage.play(order, pace, skip=2) == 4
        assert [name for _, name in stage.sent] == ["t2", "t3"]
        assert [at for at, _ in stage.sent] == pytest.approx([0, 1])


def test_an_interruption_saves_exactly_what_was_sent(stage: Stage, tmp_path: Path) -> None:
    order = ordered(stage, *(tap(n, n * 60_000) for n in range(4)), path=tmp_path / "x.jsonl")
    stage.stop_after = 2
    assert stage.play(order, Pace(rate=5)) == 2
    assert (len(stage.sent), stage.saved[-1]) == (2, 2)


def test_bad_rows_are_named_by_file_and_line_without_their_values(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([tap(1, 0), tap(2, 0, amount="secret"), "{", tap(3, 0)]))
    with EventOrder() as order:
        bad, count = check_rows(path, stage.target, order, 1)
    assert (count, order.count) == (2, 2)
    (first,) = bad
    assert isinstance(first, BadRow)
    assert first.place == f"{path}:2"
    assert first.why.startswith("field amount: ")
    assert "secret" not in first.why


def test_labels_and_other_topics_are_named_behind_the_pipeline(tmp_path: Path) -> None:
    pipeline = define(tmp_path).pipeline
    labels = target_of(pipeline, "labels.taps_x", "taps:labels.taps_x")
    assert (labels.contract.contract_name, labels.key, labels.time_field) == ("verdict_x", "id", "known_at")
    with pytest.raises(PenstockError, match="does not read topic nonsense") as refused:
        target_of(pipeline, "nonsense", "taps:nonsense")
    assert "events.taps_x, labels.taps_x" in (refused.value.next or "")


def test_progress_is_of_a_content_and_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "home_folder", lambda: tmp_path)
    path = tmp_path / "x.csv"
    path.write_text("a")
    kept = ProgressFile(digest_of(path), ("kafka", "events", "id-1"))
    assert kept.read() is None
    progress = Progress(file="x.csv", topic="events", sent=3, total=9)
    kept.write(progress)
    assert ProgressFile(digest_of(path), ("kafka", "events", "id-1")).read() == progress
    assert ProgressFile(digest_of(path), ("kafka", "events", "id-2")).read() is None, "the topic was made anew"
    path.write_text("b")
    assert ProgressFile(digest_of(path), ("kafka", "events", "id-1")).read() is None
    kept.path.write_text("{}")
    assert kept.read() is None
