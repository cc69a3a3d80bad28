"""What is counted in batches beside DuckDB on the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.profiling import counting, source
from backfill.profiling.measured import QUANTILES, Profiles
from backfill.profiling.texts import count_texts
from penstock.errors import PenstockError
from streams.plan.project import Project
from tests.profiles import DAY_MS, FIRST_MS, PIPELINE, profile_of, profiles_of, training_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    n = 12_345
    values = generator.lognormal(0, 2, n)
    values[:3] = [np.inf, -np.inf, np.nan]
    columns = {
        "event.amount": pa.array(values, mask=generator.random(n) < 0.1),
        "event.city": pa.array(generator.choice(["Graz", "Linz", "", "Wien"], n), mask=generator.random(n) < 0.3),
        "taps.x": pa.array(generator.integers(-(2**62), 2**62, n)),
        "taps.flag": pa.array(generator.random(n) < 0.2),
        "taps.list": pa.array([None if one == 4 else [1.0] * one for one in generator.integers(0, 5, n)]),
    }
    times = FIRST_MS + np.sort(generator.integers(0, 20 * DAY_MS, n))
    return training_set(tmp_path / "set", columns, generator.random(n) < 0.2, times, parts=3)


def asked(folder: Path, query: str) -> Any:
    return duckdb.sql(query.replace("FILES", f"'{folder}/part-*.parquet'")).fetchall()


def test_rows_nulls_and_extremes_are_those_of_duckdb(folder: Path) -> None:
    found = {one.column.name: one for one in profiles_of(folder).features}
    for name, value in (("event.amount", None), ("taps.x", None), ("taps.flag", "int"), ("taps.list", "len")):
        column = f'"{name}"' if value is None else f'"{name}"::INT' if value == "int" else f'len("{name}")'
        finite = f"FILTER (isfinite({column}))" if name == "event.amount" else ""
        ((rows, nulls, least, most),) = asked(
            folder,
            f"SELECT count(*), count(*) FILTER ({column} IS NULL), min({column}) {finite}, max({column}) {finite} "
            "FROM FILES",
        )
        one = found[name]
        is_nan = one.not_numbers
        assert (one.rows, one.nulls - is_nan, one.least, one.most) == (rows, nulls, least, most)


def test_infinities_and_nan_are_counted_apart(folder: Path) -> None:
    one = profiles_of(folder).features[0]
    ((low, high, nan),) = asked(
        folder,
        "SELECT count(*) FILTER (x = '-inf'), count(*) FILTER (x = 'inf'), count(*) FILTER (isnan(x)) "
        'FROM (SELECT "event.amount" AS x FROM FILES)',
    )
    assert (*one.infinities, one.not_numbers) == (low, high, nan)


def test_quantiles_are_within_a_bin_of_duckdbs(folder: Path) -> None:
    one = next(one for one in profiles_of(folder).features if one.column.name == "taps.x")
    for q, value in zip(QUANTILES, one.quantiles, strict=True):
        ((rank,),) = asked(folder, f'SELECT avg(("taps.x" <= {value})::INT) FROM FILES')
        assert rank == pytest.approx(q, abs=0.004)


def test_texts_are_counted_exactly(folder: Path) -> None:
    one = next(one for one in profiles_of(folder).features if one.column.name == "event.city")
    ranked = asked(
        folder, 'SELECT "event.city", count(*) FROM FILES WHERE "event.city" IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1'
    )
    assert one.top == tuple(ranked)
    assert one.distinct == 4
    assert one.commonest == ranked[0]


def test_categories_are_counted_by_their_codes_like_texts(tmp_path: Path) -> None:
    model = PIPELINE.model.model_copy(update={"inputs": ("event.city",)})
    project = Project.of(PIPELINE.model_copy(update={"model": model}), tmp_path)
    codes = pa.array([16_777_216.0, 7.0, 7.0, None, float("nan")] * 100, pa.float32())
    (one,) = profiles_of(
        training_set(tmp_path, {"event.city": codes}, np.arange(500) % 5 == 1), project=project
    ).features
    assert (one.column.kind, one.distinct, one.nulls) == ("category", 2, 200)
    assert one.top == (("7", 200), ("16777216", 100))
    assert one.worth is not None
    assert one.worth.measure == "information"
    assert 0.1 < one.worth.value.estimate < 1


def test_slices_are_twentieths_of_the_time(folder: Path) -> None:
    profiles = profiles_of(folder)
    one = profiles.features[0]
    assert len(one.slices) == 20
    for place, part in enumerate(one.slices):
        begin, end = profiles.begins[place : place + 2]
        ((rows, nulls),) = asked(
            folder,
            'SELECT count(*), count(*) FILTER ("event.amount" IS NULL OR isnan("event.amount")) FROM FILES '
            f"WHERE epoch_ms(event_time) >= {begin} AND epoch_ms(event_time) < {end}",
        )
        assert (part.rows, round(part.null_share * part.rows)) == (rows, nulls)
    lengths = np.diff(profiles.begins)
    assert lengths.max() - lengths.min() <= 1


def test_a_slice_begins_with_its_first_moment(tmp_path: Path) -> None:
    one = profile_of(tmp_path, np.arange(40), times=FIRST_MS + np.arange(40))
    assert [part.rows for part in one.slices] == [2] * 20


def test_the_size_of_batches_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = profiles_of(folder)
    monkeypatch.setattr(source, "_BATCH", 777)
    assert _plain(profiles_of(folder)) == _plain(whole)


def test_another_seed_draws_another_sample_and_counts_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SAMPLE", 1_000)
    one, again, other = (profiles_of(folder, seed=seed) for seed in (0, 0, 1))
    assert _plain(one) == _plain(again)
    assert one.features[0].bars != other.features[0].bars
    assert one.features[0].nulls == other.features[0].nulls
    assert one.sampled == 1_000


def test_all_rows_at_one_moment_are_in_one_slice(tmp_path: Path) -> None:
    one = profile_of(tmp_path, [1.0, 2.0, 3.0], times=[FIRST_MS] * 3)
    assert [part.rows for part in one.slices].count(0) == 19
    assert sum(part.rows for part in one.slices) == 3


@pytest.mark.parametrize("values", [pa.nulls(200, pa.float64()), pa.array([float("inf"), None] * 100), [7], [[], None]])
def test_features_without_numbers_and_tiny_sets_are_profiled(tmp_path: Path, values: Any) -> None:
    one = profile_of(tmp_path, values, labels=pa.array([0, 1] * (len(values) // 2) or [1]))
    assert one.rows == len(values)


def change_columns(folder: Path) -> None:
    path = folder / "part-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns("event.amount"), path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda folder: (folder / "part-00001.parquet").write_bytes(b"PAR1 no"),
            "part-00001.parquet of the training set",
        ),
        (lambda folder: (folder / "manifest.json").unlink(), "no complete training set"),
        (lambda folder: training_set(folder, {"event.other": []}), "there are no rows"),
        (change_columns, "part-00001.parquet has other columns"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused(folder: Path, spoil: Any, says: str) -> None:
    spoil(folder)
    with pytest.raises(PenstockError, match=says) as error:
        profiles_of(folder)
    assert error.value.next


def test_texts_that_cannot_be_counted_are_an_error_that_names_the_temporary_files(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="texts cannot be counted") as error:
        count_texts([tmp_path / "part-0.parquet"], ["event.city"], tmp_path / "spill")
    assert "TMPDIR" in str(error.value)


def test_a_file_that_is_damaged_in_the_middle_is_refused(folder: Path) -> None:
    path = folder / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    path.write_bytes(content)
    with pytest.raises(PenstockError, match="part-00001"):
        profiles_of(folder)


def _plain(profiles: Profiles) -> tuple[Any, ...]:
    matrix = profiles.correlation.matrix.round(12).tolist()
    return profiles.features, profiles.begins, repr(matrix), profiles.correlation.groups
