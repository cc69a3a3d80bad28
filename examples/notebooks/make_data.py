"""Makes what the notebooks read, without a server: a backfill of simulated payments, and an archive of chargebacks.

With servers, ``penstock backfill run`` and ``penstock archive run`` write the same files. Here the kernel computes the
features as a child process, as in feature tests.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from backfill.manifest import BackfillManifest, plan_hash, selected_views
from backfill.parts import PartsWriter
from examples.fraud.delivery import FraudConfig, messages
from examples.fraud.simulation import DAY_MS, START_MS, WorldConfig
from examples.messages import Message
from examples.notebooks import chargebacks
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from penstock.settings import Settings
from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder
from schemas.contract import Contract
from sinks.archive.storage import open_storage
from sinks.archive.topics import topic_columns
from sinks.archive.writing import ArchiveWriter
from streams.flink.submission import Replay
from streams.inprocess.features_of import Event, Outcome, features_of
from streams.plan.feature_records import features_schema
from streams.plan.project import Project, open_project

CONFIG = FraudConfig(
    world=WorldConfig(
        customers=140,
        terminals=50,
        new_compromised_terminals=0.06,
        cloned_payments=2.0,
        new_stolen_cards=0.5,
        drift_after=None,
    )
)
WEEK_MS = 7 * DAY_MS


class Made(NamedTuple):
    """What was made: messages with payments (some broken, some sent twice), rows of features, and chargebacks."""

    payment_messages: int
    feature_rows: int
    chargebacks: int


def make_data(folder: str | Path, days: int = 42, seed: int = 1) -> Made:
    """Write ``backfill`` and ``archive`` to a new folder.

    The backfill has the payments that arrive in so many days from 2026-01-01 on. The archive has the chargebacks that
    become known in these days and in the week after them. The same arguments give the same rows.

    Raises:
        PenstockError: if the folder exists, or Java or the kernel is missing.
    """
    if Path(folder).exists():
        raise PenstockError(
            "the folder is there already, perhaps of an earlier run of the notebook",
            where=str(folder),
            safe="nothing was changed",
            next=f"rm -r {folder}, or give another one",
        )
    project = open_project(chargebacks.__file__)
    end_ms = START_MS + days * DAY_MS
    payments, labels = list[Message](), list[Message]()
    now_ms = START_MS
    for message in messages(seed, config=CONFIG):  # in the order of arrival
        if message.kind != "malformed":
            now_ms = max(now_ms, message.event_time_ms or 0)
        if now_ms >= end_ms + WEEK_MS:
            break
        if message.kind == "label":
            labels.append(message)
        elif now_ms < end_ms:
            payments.append(message)
    rows = _write_backfill(Path(folder) / "backfill", project, payments, end_ms)
    known = _write_archive(Path(folder) / "archive", project, labels)
    return Made(len(payments), rows, known)


def _write_backfill(folder: Path, project: Project, payments: list[Message], end_ms: int) -> int:
    """Compute the features of all payments, write those that a job would emit, and return how many they are."""
    # A payment arrives when it happens; if its message comes after that of a later payment, then with that one.
    arrivals = list(accumulate((message.event_time_ms or 0 for message in payments), max))
    events = [Event(message.value, received=at) for message, at in zip(payments, arrivals, strict=True)]
    outcomes = features_of(project.pipeline, events)
    plan, topic = project.plan, project.pipeline.source.topic
    encoder = Encoder(features_schema(plan))
    passthrough = [name for name, _ in plan.passthrough]
    records = [
        encoder.encode(
            _record(outcome, passthrough, {"topic": topic, "partition": 0, "offset": offset, "timestamp": at})
        )
        for offset, (outcome, at) in enumerate(zip(outcomes, arrivals, strict=True))
        if outcome.emitted
    ]
    manifest = BackfillManifest(
        state="complete",
        pipeline=project.name,
        views=selected_views(plan, (), project.reference),
        plan=plan_hash(plan),
        run="notebook",
        replay=Replay(
            topic="backfill.fraud.notebook",
            start={0: 0},
            end={0: len(payments)},
            from_ms=START_MS,
            to_ms=end_ms,
            max_ahead_ms=1_000,
        ),
    )
    folder.mkdir(parents=True)
    with PartsWriter(plan, manifest, folder) as writer:
        writer.add(0, range(len(records)), records)
        writer.finish()
    return len(records)


def _record(outcome: Outcome, passthrough: list[str], source: dict[str, Any]) -> dict[str, Any]:
    """The feature record that a job emits for an event."""
    views = {
        name: view
        and {"entity": view.entity, "epoch": 1, "seq": view.seq, "as_of": view.as_of, "late": view.late, **view.values}
        for name, view in outcome.views.items()
    }
    return {
        "event_id": outcome.columns["transaction_id"],
        "event_time": outcome.columns["event_time"],
        "trigger": "event",
        "attempt": 0,
        "source": source,
        "event": {name: outcome.columns[name] for name in passthrough},
        **views,
    }


def _write_archive(folder: Path, project: Project, labels: list[Message]) -> int:
    """Archive the labels that say fraud, at the time at which they became known; return how many they are."""
    columns = topic_columns(project, Settings(), ["labels"])
    (topic,) = columns
    decoder = Decoder(contract_schema(_label_contract(project)))
    frauds = [label for label in labels if label.value is not None and decoder.decode(label.value)["is_fraud"]]
    writer = ArchiveWriter(open_storage(str(folder)), columns)
    batch = writer.batch(topic, 0)
    batch.add(
        [
            Record(0, offset, label.event_time_ms or 0, label.key, label.value, ())
            for offset, label in enumerate(frauds)
        ],
        0.0,
    )
    writer.write(topic, 0, batch, None)
    return len(frauds)


def _label_contract(project: Project) -> type[Contract]:
    assert project.pipeline.labels is not None
    return project.pipeline.labels.contract
