"""A pipeline whose topics are made here: a job that takes raw events in a given order, and a scorer after it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import penstock as ps
from backfill.parity.check import Parity, check_parity
from backfill.parity.rows import BackfillRows
from backfill.parity.sample import Sample
from backfill.parity.sources import Range, Sources
from backfill.parity.values import Place, scored_sources
from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from schemas.records import PREDICTION_SCHEMA
from scoring.vectors import Vectorizer, packed_vectors
from streams.inprocess.features_of import Event, features_of, shared_kernel
from streams.plan.feature_records import features_schema
from streams.plan.project import Project

NOON = 1_772_366_400_000
MINUTE = 60_000


class Payment(ps.Contract, name="parity_payment", version=1):
    """A payment by a card at a terminal."""

    id: Annotated[str, ps.EVENT_ID]
    time: Annotated[int, ps.EVENT_TIME]
    card: Annotated[str, ps.ENTITY]
    terminal: Annotated[str | None, ps.ENTITY] = None
    amount: float


class Refund(ps.Contract, name="parity_refund", version=1):
    """Money back to a card: it updates the card's windows."""

    id: Annotated[str, ps.EVENT_ID]
    refunded: Annotated[int, ps.EVENT_TIME]
    card: Annotated[str, ps.ENTITY]
    back: float


REFUNDS = ps.Source(topic="events.parity.refunds", contract=Refund, key="card", partitions=2, triggers=False)
SCORED_REFUNDS = REFUNDS.model_copy(update={"triggers": True})
APP = ps.Source(topic="events.parity.app", contract=Payment, key="card", partitions=2)
CARD, TERMINAL = ps.Entity(name="card", key="card"), ps.Entity(name="terminal", key="terminal")
PAIR = ps.Entity(name="pair", key=("card", "terminal"))
SPEND = ps.View(
    name="spend",
    version=1,
    entity=CARD,
    aggregates=(ps.count(over="10m"), ps.sum_("amount", over="10m"), ps.mean("log_amount", over="1h")),
    derived={"share": ps.Derived(sql="amount_sum_10m / count_10m", type="double")},
)
RISK = ps.View(
    name="risk",
    version=1,
    entity=TERMINAL,
    aggregates=(ps.last("amount", over="10m"), ps.sum_("amount", over="10m"), ps.last_k("amount", k=3, over="1h")),
)


VISITS = ps.View(name="visits", version=1, entity=PAIR, aggregates=(ps.count(over="1h"), ps.last("amount", over="1h")))


def pipeline(others: tuple[ps.Source, ...] = (), **source: Any) -> ps.Pipeline:
    """The definition; ``source`` changes its source, ``others`` are read beside it."""
    inputs = ("event.amount", "event.log_amount", "spend.count_10m", "spend.share", "risk.amount_last_10m")
    parts = {"topic": "events.parity", "contract": Payment, "key": "card", "partitions": 2}
    return ps.Pipeline(
        name="parity",
        source=ps.Source(**parts | source),
        additional_sources=others,
        entities=(CARD, TERMINAL, PAIR),
        derived={"log_amount": ps.Derived(sql="LN(amount + 1)", type="double")},
        views=(SPEND, RISK, VISITS),
        model=ps.Model(name="m", inputs=inputs, threshold=0.5, positive="block", negative="approve"),
    )


@dataclass(frozen=True)
class Sent:
    """A raw event as it was sent: minutes after noon, and its partition; ``at`` is its Kafka timestamp.

    ``source`` is the number of its source.
    """

    id: str
    minute: float
    card: str
    terminal: str | None
    amount: float
    partition: int = 0
    at: float | None = None
    source: int = 0
    is_refund: bool = False

    @property
    def time(self) -> int:
        return NOON + round(self.minute * MINUTE)

    @property
    def timestamp(self) -> int:
        return self.time if self.at is None else NOON + round(self.at * MINUTE)

    @property
    def value(self) -> dict[str, Any]:
        if self.is_refund:
            return {"id": self.id, "refunded": self.time, "card": self.card, "back": self.amount}
        return {
            "id": self.id,
            "time": self.time,
            "card": self.card,
            "terminal": self.terminal,
            "amount": self.amount,
        }


@dataclass
class World:
    """The topics of a run, as decoded records that a test may change; ``features`` are in the order of publication.

    ``deleted`` is how many records retention has deleted, by topic and partition. ``taken`` is how far the job has
    come, in topics that it has not taken whole. ``schema`` is that of the feature records of ``schema_attempts``, if
    they are of an earlier definition.
    """

    project: Project
    raw: dict[int, list[Sent]]
    features: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    letters: dict[str, list[DeadLetter]] = field(default_factory=dict)
    deleted: dict[tuple[str, int], int] = field(default_factory=dict)
    taken: dict[str, dict[int, int]] = field(default_factory=dict)
    scored: dict[int, int] | None = None
    other_topics: dict[str, list[Record]] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    schema_attempts: frozenset[int] = frozenset({1, 2})

    def feature(self, id_: str) -> dict[str, Any]:
        """The first feature record of an event, to change it."""
        return next(one for one in self.features if one["event_id"] == id_)

    def prediction(self, id_: str) -> dict[str, Any]:
        return next(one for one in self.predictions if one["event_id"] == id_)

    def check(
        self, *, sample: Sample | None = None, rows: BackfillRows | None = None, begin: float = -1e6, end: float = 1e6
    ) -> Parity:
        """The comparison of events from ``begin`` to ``end``, in minutes after noon."""
        sources = self.sources()
        wanted = Range(NOON + round(begin * MINUTE), NOON + round(end * MINUTE), sample or Sample())
        return check_parity(self.project, sources, wanted, shared_kernel(), rows)

    def sources(self) -> Sources:
        """The topics; by default, job and scorer have taken all of them."""
        return Sources(
            read=self._read,
            decoder_of=lambda _: self.project.features_decoder(),
            taken={topic: {0: 10**9, 1: 10**9} for topic in scored_sources(self.project.plan)} | self.taken,
            scored={0: 10**9, 1: 10**9} if self.scored is None else self.scored,
        )

    def _read(self, topic: str) -> Iterator[Record]:
        plan = self.project.plan
        records = iter(self.other_topics.get(topic, ()))
        if topic in [source.topic for source in plan.sources]:
            records = self._raw_records([source.topic for source in plan.sources].index(topic))
        elif topic == plan.features_topic:
            earlier = self.schema_attempts if self.schema else frozenset[int]()
            records = _records(self.features, features_schema(plan), self.schema, earlier)
        elif topic == self.project.pipeline.predictions_topic:
            records = _records(self.predictions, PREDICTION_SCHEMA)
        elif topic in self.letters:
            records = (
                Record(0, offset, 0, letter.key, letter.value, tuple(letter.headers()))
                for offset, letter in enumerate(self.letters[topic])
            )
        return (r for r in records if r.offset >= self.deleted.get((topic, r.partition), 0))

    def _raw_records(self, source: int) -> Iterator[Record]:
        for partition, of_partition in self.raw.items():
            for offset, sent in enumerate(one for one in of_partition if one.source == source):
                value = json.dumps(sent.value).encode()
                yield Record(partition, offset, sent.timestamp, sent.card.encode(), value, ())


def _records(
    decoded: Iterable[Mapping[str, Any]],
    schema: dict[str, Any],
    earlier: dict[str, Any] | None = None,
    attempts: Container[int] = (),
) -> Iterator[Record]:
    """Encoded records; those of ``attempts`` with the earlier schema."""
    encoder, offsets = Encoder(schema), dict[int, int]()
    earlier_encoder = Encoder(earlier or schema)
    for value in decoded:
        partition = value["source"]["partition"]
        offset = offsets[partition] = offsets.get(partition, -1) + 1
        encode = (earlier_encoder if value["attempt"] in attempts else encoder).encode
        header = (("updates", json.dumps(value["updates"]).encode()),) if value.get("updates") else ()
        yield Record(partition, offset, value["source"]["timestamp"] + 5, b"", encode(value), header)


def run(
    taken: Sequence[Sent],
    folder: Path,
    *,
    definition: ps.Pipeline | None = None,
    epoch: int = 1,
    attempt: int = 1,
    raw: Mapping[int, Sequence[Sent]] | None = None,
) -> World:
    """What a job leaves that takes events in the order of ``taken``.

    Of each partition that is the order of its offsets, unless ``raw`` says what the partitions have.
    """
    definition = definition or pipeline()
    project = Project.of(definition, folder)
    partitions = {n: [s for s in taken if s.partition == n] for n in range(2)} if raw is None else dict(raw)
    partitions = {number: list(of) for number, of in partitions.items()}
    features = records_of(project, taken, partitions, epoch=epoch, attempt=attempt)
    return World(project, partitions, features, predictions_of(project, features))


def records_of(
    project: Project,
    taken: Sequence[Sent],
    partitions: Mapping[int, Sequence[Sent]],
    *,
    epoch: int = 1,
    attempt: int = 1,
) -> list[dict[str, Any]]:
    """The feature records of a job that begins with empty windows and takes these events in this order."""
    plan = project.plan
    # Here the order is given: the kernel must not sort the events again.
    source = project.pipeline.source.model_copy(update={"order": "arrival"})
    topics = [of.topic for of in plan.sources]
    outcomes = features_of(
        project.pipeline.model_copy(update={"source": source}),
        [Event(s.value, s.timestamp, topics[s.source]) for s in taken],
    )
    found = []
    updates: dict[str, list[list[int]]] = defaultdict(list)
    for sent, outcome in zip(taken, outcomes, strict=True):
        of_source = [one for one in partitions[sent.partition] if one.source == sent.source]
        offset = next(n for n, one in enumerate(of_source) if one is sent)
        if outcome.updates:
            updates[sent.card].append([sent.source, sent.partition, offset])
        if not outcome.emitted:
            continue
        place = {"topic": topics[sent.source], "partition": sent.partition, "offset": offset}
        record: dict[str, Any] = {
            "event_id": plan.id_prefix(sent.source) + sent.id,
            "event_time": sent.time,
            "trigger": "event",
            "attempt": attempt,
            "source": place | {"timestamp": sent.timestamp},
            "event": {name: outcome.columns[name] for name, _ in plan.passthrough},
        }
        for view in plan.views:
            part = outcome.views[view.name]
            if part is not None and view is plan.view("spend") and updates[sent.card]:
                record["updates"] = {"spend": updates.pop(sent.card)}
            record[view.name] = part and {
                "entity": part.entity,
                "epoch": epoch,
                "seq": part.seq,
                "as_of": part.as_of,
                "late": part.late,
                **part.values,
            }
        found.append(record)
    return found


def predictions_of(project: Project, features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A prediction for the first record of each event."""
    model, found = project.pipeline.model, []
    first: dict[Place, tuple[int, Mapping[str, Any]]] = {}
    offsets: dict[int, int] = {}
    scored = scored_sources(project.plan)
    for record in features:
        partition = record["source"]["partition"]
        offset = offsets[partition] = offsets.get(partition, -1) + 1
        first.setdefault(
            Place(scored[record["source"]["topic"]], partition, record["source"]["offset"]), (offset, record)
        )
    vectors = Vectorizer(model.inputs).vectors([record for _, record in first.values()])
    packed = packed_vectors(vectors)
    for (offset, record), vector in zip(first.values(), packed, strict=True):
        found.append(
            {
                "event_id": record["event_id"],
                "pipeline": project.name,
                "event_time": record["event_time"],
                "entity": None,
                "score": 0.5,
                "decision": "approve",
                "model": model.name,
                "model_version": "1",
                "route": "primary",
                "policy_version": "p",
                "views": [
                    {"view": view.id} | {name: part[name] for name in ("entity", "epoch", "seq", "as_of")}
                    for view in project.plan.views
                    if (part := record[view.name]) is not None
                ],
                "scored_at": record["source"]["timestamp"] + 9,
                "attempt": record["attempt"],
                "source": record["source"],
                "features_topic": project.plan.features_topic,
                "features_partition": record["source"]["partition"],
                "features_offset": offset,
                "vector": vector,
            }
        )
    return found


def letter(sent: Sent, offset: int, topic: str, component: str, reason: str) -> DeadLetter:
    """A dead letter of a raw event."""
    return DeadLetter(topic, sent.partition, offset, "parity", "validate", component, reason, "why")
