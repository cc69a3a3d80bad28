"""Copies of archived events for the job: each with its position, whatever its length."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from rich.console import Console

from backfill import restored
from backfill.progress_bar import ProgressBar
from backfill.resumable import StoppedError
from penstock.kafka.reading import Record
from penstock.settings import Settings
from streams.flink.submission import Offsets, Restored
from tests.scoring.scorer_bench import define

RECORDS = [Record(0, 7, 70, b"k", b"x" * 2_000_000, (("h", None),)), Record(0, 9, -1, None, None, ())]


class FakeProducer:
    """Refuses what librdkafka refuses: longer messages than it is set to, by default of a megabyte."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._most = config.get("message.max.bytes", 1_000_000)
        self.sent: list[tuple[Any, ...]] = []

    def produce(
        self,
        _topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        _done: Callable[..., None],
        headers: Any,
    ) -> None:
        if len(value or b"") > self._most:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.sent.append((partition, key, value, headers))

    def flush(self, _timeout_s: float) -> int:
        return 0


def copied(folder: Path, patch: pytest.MonkeyPatch, stop: threading.Event) -> Restored:
    """Copy the records."""
    patch.setattr("backfill.scratch.create", lambda *_: None)
    patch.setattr(restored, "topics_of", lambda *_: SimpleNamespace(read=lambda *_, **__: iter(RECORDS)))
    source, progress = define(folder, "restored", 2)[1].source, ProgressBar(Console(file=StringIO()))
    offsets = Offsets(start={0: 7, 1: 0}, end={0: 10, 1: 0})
    with progress:
        return restored.restore(source, "archive", Settings().kafka.access, offsets, "copies", progress, stop)


def test_long_records_and_tombstones_are_copied_with_their_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeProducer] = []

    def producer(config: dict[str, Any]) -> FakeProducer:
        made.append(FakeProducer(config))
        return made[0]

    monkeypatch.setattr(restored, "Producer", producer)
    found = copied(tmp_path, monkeypatch, threading.Event())
    assert (found.start, found.end) == ({0: 0}, {0: 2})
    assert [(key, value) for _, key, value, _ in made[0].sent] == [(one.key, one.value) for one in RECORDS]
    assert [struct.unpack(">qq", headers[0][1]) for *_, headers in made[0].sent] == [(7, 70), (9, -1)]


def test_while_kafka_takes_nothing_it_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FakeProducer):
        def produce(self, *_: Any, **__: Any) -> None:
            raise BufferError

        def poll(self, _timeout_s: float) -> None:
            stop.set()

    stop = threading.Event()
    monkeypatch.setattr(restored, "Producer", Full)
    with pytest.raises(StoppedError):
        copied(tmp_path, monkeypatch, stop)
