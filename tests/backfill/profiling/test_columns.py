"""Which columns are features, how they are described, and whose texts are personal."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from backfill.profiling.columns import Column, feature_columns
from backfill.row_columns import row_schema
from penstock.errors import PenstockError
from streams.definitions.windows import LIFETIME_MS
from streams.plan.other_views import OtherView
from tests.profiles import PIPELINE, PROJECT

COLUMNS = {one.name: one for one in feature_columns(PROJECT, row_schema(PROJECT.plan, ["taps"]))}


def test_all_columns_of_a_backfill_but_those_of_its_rows_are_features() -> None:
    expected = [f"event.{name}" for name in PIPELINE.kept_columns]
    expected += [f"taps.{output.name}" for output in PROJECT.plan.view("taps").outputs]
    assert list(COLUMNS) == expected


@pytest.mark.parametrize(
    ("name", "kind", "description", "personal"),
    [
        ("event.amount", "number", "field of tap_for_profiles", False),
        ("event.city", "text", "field of tap_for_profiles", False),
        ("event.card", "text", "field of tap_for_profiles", True),
        ("event.short", "text", "SUBSTRING(card, 1, 4)", True),
        ("taps.amount_mean_1h", "number", "mean(amount) over 1h, per card", False),
        ("taps.large_lifetime", "number", "mean(amount) since the first event where amount > 5, per card", False),
        ("taps.city_last_1h", "text", "last(city) over 1h, per card", False),
        ("taps.card_last_1h", "text", "last(card) over 1h, per card", True),
        ("taps.short_last_1h", "text", "last(short) over 1h, per card", True),
        ("taps.card_last_k_1h", "list", "last_k(card, k=3) over 1h, per card", True),
    ],
)
def test_a_feature_is_described_in_the_words_of_its_definition(
    name: str, kind: str, description: str, personal: bool
) -> None:
    window_ms = LIFETIME_MS if "lifetime" in name else 3_600_000 if name.startswith("taps") else None
    assert COLUMNS[name] == Column(name, kind, description, personal, window_ms)  # type: ignore[arg-type]


def test_a_column_that_the_pipeline_does_not_know_is_taken_for_personal() -> None:
    (found,) = feature_columns(PROJECT, pa.schema([("taps.gone", pa.string())]))
    assert found.personal
    assert "not a feature of the pipeline as it is defined now" in found.description


def test_patterns_choose_features() -> None:
    schema = row_schema(PROJECT.plan, ["taps"])
    names = [one.name for one in feature_columns(PROJECT, schema, ("event.c*", "taps.city*"))]
    assert names == ["event.card", "event.city", "taps.city_last_1h"]


def test_a_pattern_without_a_feature_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(PenstockError, match=r"no feature is called taps\.none") as error:
        feature_columns(PROJECT, row_schema(PROJECT.plan, ["taps"]), ("event.*", "taps.none"))
    assert "taps.city_last_1h" in str(error.value)


def test_a_file_without_features_is_refused() -> None:
    with pytest.raises(PenstockError, match="no column is a feature"):
        feature_columns(PROJECT, pa.schema([("event_id", pa.string())]))


def test_personal_inputs_of_other_pipelines_are_not_shown() -> None:
    other = OtherView(PROJECT.plan, PROJECT.plan.view("taps"), ("card",), {})
    schema = pa.schema([("taps:taps.card_last_1h", pa.string()), ("taps:taps.city_last_1h", pa.string())])
    found = feature_columns(replace(PROJECT, other_views=(other,)), schema)
    assert [(one.personal, one.description) for one in found] == [
        (True, "last(card) over 1h, per card"),
        (False, "last(city) over 1h, per card"),
    ]
