"""The options of the Cassandra sink."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sinks.stores.cassandra import CassandraOptions


@pytest.mark.parametrize("ttl", ["999ms", "7301d", "20000d"])
def test_a_time_to_live_that_cassandra_cannot_count_is_refused(ttl: str) -> None:
    with pytest.raises(ValidationError, match=f"{ttl} is no time to live for Cassandra"):
        CassandraOptions.model_validate({"history_ttl": ttl})
    with pytest.raises(ValidationError, match="7300d"):
        CassandraOptions.model_validate({"prediction_ttl": ttl})


@pytest.mark.parametrize("ttl", ["1s", "7300d"])
def test_cassandras_limits_are_times_to_live(ttl: str) -> None:
    assert CassandraOptions.model_validate({"history_ttl": ttl}).history_ttl
