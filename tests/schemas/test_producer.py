from __future__ import annotations

from typing import Any

import pytest

from penstock.kafka.access import KafkaAccess
from schemas.producer import EventProducer
from tests.schemas.samples import Sample


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
