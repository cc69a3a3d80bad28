"""Which parts a pipeline has, by its definition."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.prometheus_config import OPTIONAL_PORTS
from penstock.errors import PenstockError
from penstock.running.parts import Asking, groups_of, parts_of
from streams.definitions.loading import load_pipeline
from streams.definitions.monitors import DataQuality
from streams.definitions.pipeline import Pipeline
from streams.definitions.sources import Source
from tests.deploy.commands import parse
from tests.loop.taps import define

SERVING = ["features", "sink-redis", "sink-cassandra", "scorer"]


@pytest.fixture
def taps(tmp_path: Path) -> Pipeline:
    return define(tmp_path).pipeline


def test_a_pipeline_with_everything_has_all_parts(taps: Pipeline) -> None:
    names = [part.name for part in parts_of(taps, "taps")]
    assert names == [*SERVING, "drift", "quality", "rollout", "incidents"]


def test_raw_events_are_watched_if_the_definition_says_so(taps: Pipeline) -> None:
    assert taps.monitors is not None
    monitors = taps.monitors.model_copy(update={"data_quality": DataQuality()})
    watched = taps.model_copy(update={"monitors": monitors})
    (part,) = (part for part in parts_of(watched, "taps") if part.name == "data-quality")
    assert (part.command, part.needs) == (("data-quality", "run", "taps"), "profile")
    assert part.name in groups_of(watched)
    assert part.name in OPTIONAL_PORTS
    parse([*part.arguments(19_110)])


def test_a_gateway_is_a_part_where_it_is_asked_for_and_stops_before_the_scorer(taps: Pipeline) -> None:
    parts = {part.name: part for part in parts_of(taps, "taps", asking=Asking("ask", 8_701))}
    gateway = parts["gateway"]
    assert gateway.command == ("gateway", "run", "taps", "--fallback", "ask", "--port", "8701")
    assert gateway.needs is None  # until there is a model, it gives the fallback
    assert gateway.stage < parts["scorer"].stage
    assert gateway.name in OPTIONAL_PORTS
    parse([*gateway.arguments(19_111)])


def test_a_gateway_for_events_without_ids_is_refused(taps: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "event_id", None)
    with pytest.raises(PenstockError, match="has no event id"):
        parts_of(taps, "taps", asking=Asking("ask", 8_700))


def test_without_monitors_and_horizon_nothing_watches_for_drift_or_counts_quality(taps: Pipeline) -> None:
    assert taps.labels is not None
    labels = taps.labels.model_copy(update={"horizon": None, "absent": None})
    bare = taps.model_copy(update={"monitors": None, "labels": labels})
    assert [part.name for part in parts_of(bare, "taps")] == [*SERVING, "rollout"]
    assert "drift" not in groups_of(bare)


def test_labels_that_are_values_have_no_quality(taps: Pipeline) -> None:
    assert taps.labels is not None
    values = taps.labels.model_copy(update={"task": "regression", "absent": None})
    assert "quality" not in [part.name for part in parts_of(taps.model_copy(update={"labels": values}), "taps")]


def test_parts_can_be_left_out_and_a_name_that_is_none_is_refused(taps: Pipeline) -> None:
    assert "drift" not in [part.name for part in parts_of(taps, "taps", ("drift",))]
    with pytest.raises(PenstockError, match="no part nonsense") as refused:
        parts_of(taps, "taps", ("nonsense",))
    assert "sink-redis" in (refused.value.next or "")
    with pytest.raises(PenstockError, match="no part is left"):
        parts_of(taps, "taps", [part.name for part in parts_of(taps, "taps")])


def test_the_command_line_takes_every_command_of_a_part_with_its_port(taps: Pipeline) -> None:
    for part in parts_of(taps, "fraud"):
        parse([*part.arguments(19_101 if part.has_metrics else None)])


def test_what_judges_stops_before_the_job_and_the_sinks_stop_last(taps: Pipeline) -> None:
    stages = {part.name: part.stage for part in parts_of(taps, "taps")}
    assert stages["rollout"] < stages["features"] < stages["scorer"] < stages["sink-redis"]


def test_every_group_is_of_a_part() -> None:
    fraud = load_pipeline("fraud")
    assert groups_of(fraud).keys() <= {part.name for part in parts_of(fraud, "fraud")}
