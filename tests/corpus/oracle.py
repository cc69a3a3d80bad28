"""The outcomes of a case's events by the oracle, computed as the verifier does for a topic, without the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.kafka.reading import Record
from schemas.avro import contract_schema
from schemas.codec import Decoder
from streams.definitions.pipeline import Pipeline
from streams.inprocess.features_of import PII_KEY, Event, Features, Outcome, record_of
from streams.oracle.reference import Timed, agrees, tolerance, vectors
from streams.plan.compiler import compile_plan
from streams.plan.entity_text import entity_text
from streams.plan.model import PipelinePlan, ViewPlan
from verify.check_events import judge_events
from verify.published import Position


def outcomes_of(pipeline: Pipeline, events: Sequence[Event]) -> list[Outcome]:
    """The oracle's outcome of each event."""
    plan = compile_plan(pipeline)
    records = []
    for number, event in enumerate(events, 1):
        value, timestamp = record_of(plan, number, event)
        records.append(Record(0, number - 1, timestamp, None, value, ()))
    contract = pipeline.source.contract
    judged = judge_events(plan, plan.source, contract, records, Decoder(contract_schema(contract)), PII_KEY)
    stream = [Timed(event.time, event.row) for event in judged.events.values()]
    by_view = {view.name: _emitted(view, stream) for view in plan.views}
    outcomes, emitted = [], 0
    for number in range(len(events)):
        position = Position(0, number)
        rejection = judged.rejections.get(position)
        if rejection is not None:
            outcomes.append(Outcome(refused=rejection.reason, message=rejection.message))
        elif position in judged.duplicates:
            outcomes.append(Outcome(duplicate=True))
        else:
            views = {name: vectors[emitted] for name, vectors in by_view.items()}
            outcomes.append(Outcome(columns=stream[emitted].row, views=views))
            emitted += 1
    return outcomes


def assert_same(plan: PipelinePlan, engine: Sequence[Outcome], oracle: Sequence[Outcome]) -> None:
    """Assert that every value of every view is the oracle's, within what docs/concepts/semantics.md allows."""
    assert [(o.refused, o.duplicate) for o in engine] == [(o.refused, o.duplicate) for o in oracle]
    for view in plan.views:
        histories: dict[str, list[Timed]] = {}
        for got, wanted in zip(engine, oracle, strict=True):
            if not wanted.emitted:
                continue
            mine, other = got.views[view.name], wanted.views[view.name]
            if mine is None or other is None:
                assert mine is other
                continue
            time = wanted.columns[plan.source.event_time]
            assert isinstance(time, int)
            history = histories.setdefault(other.entity, [])
            history.append(Timed(time, wanted.columns))
            assert (mine.entity, mine.seq, mine.as_of, mine.late) == (other.entity, other.seq, other.as_of, other.late)
            for feature in view.features:
                engine_value, oracle_value = mine.values[feature.name], other.values[feature.name]
                allowed = tolerance(feature, history, other.as_of)
                told = f"{view.id}: {feature.name} is {engine_value!r}, oracle {oracle_value!r}"
                assert agrees(engine_value, oracle_value, allowed), told


def _emitted(view: ViewPlan, stream: Sequence[Timed]) -> list[Features | None]:
    seqs: dict[str, int] = {}
    emitted: list[Features | None] = []
    for timed, found in zip(stream, vectors(view, stream), strict=True):
        if found is None:
            emitted.append(None)
            continue
        entity = entity_text(timed.row[view.key])
        seqs[entity] = seqs.get(entity, 0) + 1
        emitted.append(Features(entity, seqs[entity], found.as_of, found.late, found.features))
    return emitted
