"""Feature records and labels of payments, a thousand a second, as the job and a case tool would write them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from confluent_kafka import Producer

from penstock.kafka.access import QUIET
from penstock.settings import Settings
from schemas.avro import contract_schema
from schemas.codec import Encoder
from streams.definitions.pipeline import Pipeline
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from tests.bench.rollout_trials.world import payments

_TICK_S = 0.02
# Of 20 payments, one is by somebody who has paid before.
_NEW = 0.95


class Traffic:
    """Writes payments of people, and at once whether each was fraud.

    Args:
        pipeline: Their pipeline.
        settings: Where Kafka is.
        seed: Of everything that is left to chance.
        per_second: How many payments.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, seed: int, per_second: float) -> None:
        assert pipeline.labels is not None
        self._pipeline = pipeline
        self._labels_topic = pipeline.labels.topic
        self._producer = Producer({**settings.kafka.access.client(), "linger.ms": 5, **QUIET})
        self._features = Encoder(features_schema(compile_plan(pipeline)))
        self._labels = Encoder(contract_schema(pipeline.labels.contract))
        self._rng = np.random.default_rng(seed)
        self._per_second = per_second
        self._next = dict.fromkeys(range(pipeline.source.partitions), 0)
        self._people = 0

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Write for the duration of the block; an error of the writer is raised at its end."""
        done, failures = threading.Event(), list[Exception]()

        def write() -> None:
            try:
                begin, written = time.monotonic(), 0
                while not done.wait(_TICK_S):
                    due = int((time.monotonic() - begin) * self._per_second) - written
                    self._write(due)
                    written += due
            except Exception as error:  # noqa: BLE001 - raised by the other thread
                failures.append(error)

        thread = threading.Thread(target=write, name="traffic")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            assert self._producer.flush(60) == 0
        for failure in failures:
            raise failure

    def _write(self, count: int) -> None:
        found = payments(self._rng, count)
        is_new = self._rng.random(count) < _NEW
        for vector, is_fraud, new in zip(found.vectors.tolist(), found.is_fraud.tolist(), is_new.tolist(), strict=True):
            self._people += new
            person = self._people if new else int(self._rng.integers(1, self._people + 1))
            self._write_payment(person, vector, is_fraud=is_fraud)
        self._producer.poll(0)

    def _write_payment(self, person: int, vector: list[float], *, is_fraud: bool) -> None:
        partition = person % len(self._next)
        offset, now = self._next[partition], time.time_ns() // 1_000_000
        self._next[partition] += 1
        event_id, entity = f"{partition}-{offset}", f"person-{person}"
        amount, region, total, count = vector
        record = {
            "event_id": event_id,
            "event_time": now,
            "trigger": "event",
            "attempt": 0,
            "source": {
                "topic": self._pipeline.source.topic,
                "partition": partition,
                "offset": offset,
                "timestamp": now,
            },
            "event": {"amount": amount, "region": int(region)},
            "activity": {
                "entity": entity,
                "epoch": 1,
                "seq": offset + 1,
                "as_of": now,
                "late": False,
                "count_1h": int(count),
                "amount_sum_1h": total,
            },
        }
        label = {"pay_id": event_id, "known_at": now, "is_fraud": is_fraud}
        self._producer.produce(
            self._pipeline.features_topic, self._features.encode(record), key=entity.encode(), partition=partition
        )
        self._producer.produce(self._labels_topic, self._labels.encode(label), key=event_id.encode())
