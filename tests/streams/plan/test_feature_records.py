"""The current definition reads the records of earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock import ENTITY, EVENT_ID, Entity, Model, Pipeline, Source, View, count
from schemas.codec import Encoder, UnknownSchema
from schemas.committed import export
from schemas.contract import ContractField
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import FeaturesDecoder, features_decoder, features_schema, is_absent
from streams.plan.pipeline_forms import pipeline_forms
from tests.schemas.samples import contract_of

CARD = Entity(name="card", key="card")
PAYMENT = contract_of(
    ContractField(name="id", type="string", roles=(EVENT_ID,)),
    ContractField(name="card", type="string", roles=(ENTITY,)),
    ContractField(name="amount", type="double"),
    name="payment",
)


def view(name: str, version: int = 1, over: str = "1h") -> View:
    return View(name=name, version=version, entity=CARD, aggregates=(count(over=over),))


def pipeline_of(*views: View, passthrough: tuple[str, ...] = ("amount",)) -> Pipeline:
    return Pipeline(
        name="pay",
        source=Source(topic="events.pay", contract=PAYMENT, key="card"),
        entities=(CARD,),
        views=views,
        model=Model(name="m", inputs=views[0].inputs(), threshold=0.5, positive="yes", negative="no"),
        passthrough=passthrough,
    )


def part(**features: int) -> dict[str, Any]:
    return {"entity": "c", "epoch": 1, "seq": 1, "as_of": 5, "late": False, **features}


def record_of(event: dict[str, Any] | None = None, **views: Any) -> dict[str, Any]:
    source = {"topic": "events.pay", "partition": 0, "offset": 3, "timestamp": 5}
    head = {"event_id": "e", "event_time": 5, "trigger": "event", "attempt": 7, "source": source}
    return {**head, "event": {"amount": 2.0} if event is None else event, **views}


def written_by(pipeline: Pipeline, record: dict[str, Any]) -> bytes:
    return Encoder(features_schema(compile_plan(pipeline))).encode(record)


def decoder_of(now: Pipeline, *before: Pipeline) -> FeaturesDecoder:
    return FeaturesDecoder(features_schema(compile_plan(now)), [features_schema(compile_plan(p)) for p in before])


def test_a_view_that_was_added_is_null_in_older_records_and_the_rest_is_as_it_was() -> None:
    old, new = pipeline_of(view("a")), pipeline_of(view("a"), view("b"))
    value = written_by(old, record_of(a=part(count_1h=4)))
    decoder = decoder_of(new, old)
    assert decoder.decode(value) == record_of(a=part(count_1h=4), b=None)
    assert decoder.absent_names(value) == {"b"}
    assert is_absent("b.count_1h", decoder.absent_names(value))
    assert not is_absent("a.count_1h", decoder.absent_names(value))


def test_a_view_of_another_version_is_null_although_its_features_have_the_same_names() -> None:
    old, new = pipeline_of(view("a", 1)), pipeline_of(view("a", 2))
    value = written_by(old, record_of(a=part(count_1h=4)))
    assert decoder_of(new, old).decode(value)["a"] is None
    assert decoder_of(new, old).absent_names(value) == {"a"}


def test_a_view_that_was_changed_under_its_version_is_told_from_one_of_another_version() -> None:
    old, new = pipeline_of(view("a"), view("b")), pipeline_of(view("a", over="2h"), view("b", 2))
    value = written_by(old, record_of(a=part(count_1h=4), b=part(count_1h=9)))
    decoder = decoder_of(new, old)
    assert (decoder.absent_names(value), decoder.changed_views(value)) == ({"a", "b"}, {"a"})
    assert decoder.changed_views(written_by(new, record_of(a=part(count_2h=4), b=part(count_1h=9)))) == frozenset()


def test_a_view_that_was_removed_is_left_out() -> None:
    old, new = pipeline_of(view("a"), view("b")), pipeline_of(view("a"))
    value = written_by(old, record_of(a=part(count_1h=4), b=part(count_1h=9)))
    assert decoder_of(new, old).decode(value) == record_of(a=part(count_1h=4))
    assert decoder_of(new, old).absent_names(value) == frozenset()


def test_a_column_that_was_not_carried_is_null() -> None:
    old, new = pipeline_of(view("a"), passthrough=("amount",)), pipeline_of(view("a"), passthrough=("id",))
    value = written_by(old, record_of(a=part(count_1h=4)))
    assert decoder_of(new, old).decode(value)["event"] == {"id": None}
    assert decoder_of(new, old).absent_names(value) == {"event.id"}
    assert is_absent("event.id", decoder_of(new, old).absent_names(value))


def test_records_of_the_current_schema_have_no_absent_names() -> None:
    old, new = pipeline_of(view("a")), pipeline_of(view("a"), view("b"))
    record = record_of(a=part(count_1h=4), b=None)
    value = written_by(new, record)
    assert decoder_of(new, old).decode(value) == record
    assert decoder_of(new, old).absent_names(value) == frozenset()


def test_the_decoder_knows_the_committed_schemas_and_no_others(tmp_path: Path) -> None:
    first, second, third = (pipeline_of(*map(view, names)) for names in ("a", "ab", "abc"))
    export(pipeline_forms(first, compile_plan(first)), tmp_path)
    decoder = features_decoder(compile_plan(third), tmp_path)
    assert decoder.decode(written_by(first, record_of(a=part(count_1h=4))))["c"] is None
    with pytest.raises(UnknownSchema):
        decoder.decode(written_by(second, record_of(a=None, b=None)))
