"""A file is played for a source of CloudEvents, as such or by columns; changes of a table are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock import CloudEvents, Debezium, Entity, Model, Pipeline, Source, View, count
from penstock.errors import PenstockError
from penstock.playing.event_order import EventOrder
from penstock.playing.playing import check_rows
from penstock.playing.target import target_of
from tests.schemas.envelope_samples import OrderRow, Paid

EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "paid", "time": "2026-03-01T12:30:00Z"}
EVENT |= {"data": {"card": "c", "amount": 2.5}}


def pipeline(source: Source) -> Pipeline:
    entity = Entity(name="entity", key=source.key)
    view = View(name="v", version=1, entity=entity, aggregates=(count(over="1h"),))
    model = Model(name="m", inputs=view.inputs(), threshold=0.5, positive="p", negative="n")
    return Pipeline(name="p", source=source, entities=(entity,), views=(view,), model=model)


def test_rows_that_are_cloud_events_are_opened_and_others_told(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, [EVENT, EVENT | {"specversion": "0.3"}, EVENT["data"]])))
    target = target_of(pipeline(Source(topic="t", contract=Paid, key="card", envelope=CloudEvents())), None, "p")
    with EventOrder() as order:
        bad, number = check_rows(file, target, order, 5)
        assert (order.count, number) == (1, 2)
    assert "specversion is not 1.0" in bad[0].why


def test_changes_of_a_table_are_not_played() -> None:
    source = Source(topic="t", contract=OrderRow, key="customer", envelope=Debezium())
    with pytest.raises(PenstockError, match="only Debezium writes") as refused:
        target_of(pipeline(source), None, "p")
    assert refused.value.safe == "nothing was sent"
