"""Raw records are read leniently: each column by itself, and garbage is data."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from pydantic import Field

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    ISO8601,
    PII_HASH,
    AsDecimal,
    At,
    Contract,
    DataQuality,
    Debezium,
    Entity,
    Labels,
    Model,
    Monitors,
    Pipeline,
    Source,
    View,
    count,
)
from penstock.kafka.reading import Record
from schemas.avro import contract_schema
from schemas.codec import Encoder
from streams.drift.data_quality.period import Period
from streams.drift.data_quality.raw_events import RawReader, WatchedTopic, watched_topics
from streams.plan.project import Project

NOW = 1_760_000_000_000
CLOCK = NOW + 1_000


class Sale(Contract, name="sale_raw", version=1):
    sale_id: Annotated[str, EVENT_ID]
    at: Annotated[int, EVENT_TIME]
    shop: Annotated[str, ENTITY, PII_HASH]
    price: Annotated[float, Field(gt=0)]
    kind: str | None = None
    pieces: int = 1


class Returned(Contract, name="returned_raw", version=1):
    sale_id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME]
    returned: bool


shop = Entity(name="shop", key="shop")
pipeline = Pipeline(
    name="sales_raw",
    source=Source(topic="events.sales_raw", contract=Sale, key="shop", partitions=1),
    entities=(shop,),
    views=(View(name="sales", version=1, entity=shop, aggregates=(count(over="1h"),)),),
    model=Model(name="sales_raw", inputs=("event.price",), threshold=0.5, positive="yes", negative="no"),
    labels=Labels(topic="labels.sales_raw", contract=Returned, value="returned"),
    monitors=Monitors(inputs=("event.price",), data_quality=DataQuality(producer_header="version")),
)
GOOD = {"sale_id": "s1", "at": NOW, "shop": "x", "price": 2.5, "kind": "book", "pieces": 3}


@pytest.fixture
def reader(tmp_path):
    return RawReader(watched_topics(pipeline)[0], Project.of(pipeline, tmp_path), lambda: CLOCK)


def record(value: object, headers: tuple = (), timestamp: int = NOW, offset: int = 0) -> Record:
    raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Record(0, offset, timestamp, None, raw, headers)


def test_json_and_avro_say_the_same(reader):
    avro = Encoder(contract_schema(Sale)).encode(GOOD)
    of_json, of_avro = reader.read(record(GOOD)), reader.read(record(avro))
    assert of_json == of_avro
    assert of_json.values == ("s1", NOW, "x", 2.5, "book", 3)
    assert (of_json.event_id, of_json.event_time, of_json.invalid) == ("s1", NOW, ())


@pytest.mark.parametrize(
    ("change", "invalid"),
    [
        ({"price": "2.5"}, (3,)),
        ({"price": -1}, (3,)),
        ({"price": None}, ()),  # null is counted as such
        ({"kind": 7, "pieces": True}, (4, 5)),
        ({"sale_id": ["s1"], "at": "today"}, (0, 1)),
        ({"price": {"cents": 1}}, (3,)),
    ],
)
def test_each_column_is_judged_by_itself(reader, change, invalid):
    event = reader.read(record(GOOD | change))
    assert event.invalid == invalid
    assert event.values[2] == "x"


def test_what_is_left_out_is_null_unless_it_has_a_default(reader):
    event = reader.read(record({"at": NOW}))
    assert event.values == (None, NOW, None, None, None, 1)


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"[1]", b"\x00\x00\x00\x00\x07", b"\xc3\x01short"])
def test_what_cannot_be_decoded_has_no_values(reader, value):
    event = reader.read(record(value, (("version", b"4.2"),)))
    assert (event.values, event.event_time, event.producer) == (None, None, "4.2")


@pytest.mark.parametrize(
    ("time", "timestamp", "found"),
    [
        (NOW, NOW, NOW),
        (NOW, -1, NOW),
        (NOW, NOW + 86_400_000, NOW),
        (NOW + 3_600_000, NOW, None),
        (NOW + 3_600_000, NOW + 3_600_000, None),  # the producer's clock is wrong, and Kafka's timestamp is its
        (NOW + 3_600_000, -1, None),
        (10**18, 10**18, None),
        (10**30, -1, None),
        (1_760_000_000, NOW, None),
        (True, NOW, None),
    ],
)
def test_an_impossible_event_time_is_none(reader, time, timestamp, found):
    assert reader.read(record(GOOD | {"at": time}, timestamp=timestamp)).event_time == found


@pytest.mark.parametrize(
    ("headers", "producer"),
    [
        ((), ""),
        ((("version", None),), ""),
        ((("version", b"4.1"), ("version", b"4.2"), ("other", b"x")), "4.2"),
        ((("version", b"\xff\n" + b"9" * 99),), "\ufffd\ufffd" + "9" * 62),
    ],
)
def test_the_producer_is_the_last_header_of_the_name(reader, headers, producer):
    assert reader.read(record(GOOD, headers)).producer == producer


def test_personal_data_ids_and_entities_are_no_categories_and_labels_have_no_columns():
    source, labels = watched_topics(pipeline)
    assert [column.name for column in source.columns if column.may_be_category] == ["kind"]
    assert [column.name for column in source.columns if column.is_number] == ["price", "pieces"]
    assert (labels.topic, labels.columns, labels.has_ids) == ("labels.sales_raw", (), False)


def test_a_period_has_the_events_of_its_time_and_says_where_those_after_it_begin(reader):
    times = [1, 2, None, 5, None, 3, 6]
    records = [record(GOOD | {"at": NOW + t} if t else b"garbage", offset=at) for at, t in enumerate(times)]
    period = Period(lambda: records, reader, NOW + 2, NOW + 5, {0: len(records)})
    assert [event.offset for event in period.events()] == [1, 2, 5]
    assert period.start == {0: 3}


class Nested(Contract, name="nested_raw", version=1):
    at: Annotated[int, EVENT_TIME, ISO8601]
    shop: Annotated[str, ENTITY, At("body.shop")]
    price: Annotated[float, AsDecimal(scale=2), At("body.price")]


def test_columns_are_read_where_and_how_others_write_them(tmp_path):
    reader = RawReader(WatchedTopic("events.nested_raw", Nested, 60_000), Project.of(pipeline, tmp_path), lambda: CLOCK)
    event = reader.read(record({"at": "2025-10-09T08:53:20Z", "body": {"shop": "x", "price": "2.50"}}))
    assert (event.event_time, event.values, event.invalid) == (NOW, (NOW, "x", 2.5), ())
    event = reader.read(record({"at": "yesterday", "body": {"price": "cheap"}}))
    assert (event.event_time, event.values[1], event.invalid) == (None, None, (0, 2))


def test_what_is_no_event_in_an_envelope_is_not_watched(tmp_path):
    source = pipeline.source.model_copy(update={"envelope": Debezium()})
    enveloped = pipeline.model_copy(update={"source": source})
    reader = RawReader(watched_topics(enveloped)[0], Project.of(enveloped, tmp_path), lambda: CLOCK)
    assert reader.read(record(None)) is reader.read(record({"op": "d", "before": GOOD})) is None
    assert reader.read(record({"op": "c", "after": GOOD})).event_id == "s1"
    assert reader.read(record(GOOD)).values is None
