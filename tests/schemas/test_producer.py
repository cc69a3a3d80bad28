from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.kafka.access import KafkaAccess
from schemas.producer import EventProducer, InvalidEvent, validated
from tests.schemas.samples import SAMPLE_EVENT, Sample

CASES = json.loads(Path(__file__).with_name("decode_cases.json").read_text(encoding="utf-8"))["cases"]
INVALID = [case for case in CASES if case.get("reason") == "penstock.InvalidField" and "text" in case]
VALID = [case for case in CASES if "event" in case]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"config": {"acks": "1"}}, "config may not set acks"),
        ({"config": {"enable.idempotence": False, "partitioner": "random"}}, "enable.idempotence, partitioner"),
        ({"config": {"bootstrap.servers": "elsewhere:9092"}}, "bootstrap.servers"),
        ({"key": "nothing"}, "key 'nothing' is not a field of contract sample"),
        ({"encoding": "json", "registry_url": "http://127.0.0.1:1"}, "encoding='avro'"),
    ],
)
def test_contradictory_options_are_refused_before_the_producer_connects(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EventProducer(Sample, "events.any", kafka=KafkaAccess(bootstrap="127.0.0.1:1"), **options)


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["name"])
def test_what_the_job_refuses_is_not_sent(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent) as error:
        validated(json.loads(case["text"]), Sample, "events.any")
    assert case["field"] in str(error.value)
    assert case.get("says", "") in str(error.value)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["name"])
def test_what_the_job_accepts_is_sent(case: dict[str, Any]) -> None:
    assert validated(case["event"], Sample, "events.any").model_dump() == case["event"]


def test_an_instance_that_was_made_without_validation_is_validated() -> None:
    with pytest.raises(InvalidEvent, match="does not fit contract sample"):
        validated(Sample(**SAMPLE_EVENT).model_copy(update={"amount": -1.0}), Sample, "events.any")
