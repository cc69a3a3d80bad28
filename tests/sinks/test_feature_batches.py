"""What the sinks make of records that another definition wrote."""

from __future__ import annotations

import pytest

from sinks.feature_batches import FeatureBatches
from streams.plan.compiler import compile_plan
from tests.streams.plan.test_feature_records import decoder_of, part, pipeline_of, record_of, view, written_by


def test_a_view_that_was_changed_under_its_version_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    old, new = pipeline_of(view("a"), view("b")), pipeline_of(view("a", over="2h"), view("b"))
    batches = FeatureBatches(
        compile_plan(new), decoder_of(new, old), lambda *_: pytest.fail("they are few"), lambda vector: vector.view.name
    )
    value = written_by(old, record_of(a=part(count_1h=4), b=part(count_1h=9)))
    assert batches.decode([value]) == batches.decode([value]) == [["b"]]
    (message,) = (record.getMessage() for record in caplog.records)
    assert "records on features.pay have other features of view a@1" in message
