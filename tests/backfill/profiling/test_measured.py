"""What is called a change, worth, constant or the same, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backfill.profiling.findings import notes, summary
from backfill.profiling.measured import SMALL, Change, Profile
from tests.profiles import DAY_MS, FIRST_MS, profile_of, profiles_of, training_set

N = 8_000
LATER = np.arange(N) >= N * 0.7


def changes(one: Profile) -> list[Change]:
    return [part.change for part in one.slices]


def test_what_does_not_change_is_not_named(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    kinds: list[Any] = [
        lambda: generator.normal(size=N),
        lambda: generator.lognormal(0, 3, N),
        lambda: generator.poisson(0.1, N),
        lambda: pa.array(generator.normal(size=N), mask=generator.random(N) < 0.01),
        lambda: generator.choice(["a", "b", "c"], N, p=[0.9, 0.09, 0.01]),
    ]
    columns = {f"taps.x{place}": kinds[place % 5]() for place in range(60)}
    assert [one for one in profiles_of(training_set(tmp_path, columns), task=None).features if one.drifted] == []


def test_small_slices_of_unchanged_features_are_no_alarm(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    columns = {f"taps.x{place}": generator.normal(size=2_200) for place in range(60)}  # 110 rows in a slice
    assert [one for one in profiles_of(training_set(tmp_path, columns), task=None).features if one.drifted] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a shift", np.random.default_rng(3).normal(size=N) + LATER),
        ("nulls", pa.array(np.ones(N), mask=LATER & (np.arange(N) % 2 == 0))),
        ("another unit", np.random.default_rng(3).lognormal(0, 1, N) * np.where(LATER, 1_000, 1)),
        ("another text", np.where(LATER, "new", np.random.default_rng(3).choice(["a", "b"], N))),
        ("infinities", np.where(LATER & (np.arange(N) % 3 == 0), np.inf, np.random.default_rng(3).normal(size=N))),
    ],
)
def test_a_change_is_named_where_it_begins(tmp_path: Path, name: str, values: Any) -> None:
    found = changes(profile_of(tmp_path, values))
    assert found[:5] == [Change.REFERENCE] * 5, name
    assert found[5:14] == [Change.SAME] * 9
    assert set(found[14:]) <= {Change.MOVED, Change.FAR}


def test_what_the_first_slices_differ_among_each_other_is_no_change(tmp_path: Path) -> None:
    level = np.repeat([0.0, 0.8], N // 20)  # every second slice is another one
    values = np.random.default_rng(4).normal(size=N) + np.tile(level, 10)
    found = profile_of(tmp_path, values)
    assert max(part.psi for part in found.slices if part.psi is not None) > SMALL
    assert not found.drifted


def test_slices_with_few_rows_are_not_judged(tmp_path: Path) -> None:
    times = np.concatenate([np.arange(1_000) * 10 * DAY_MS // 1_000, np.arange(60) * 10 * DAY_MS // 60 + 10 * DAY_MS])
    values = np.concatenate([np.zeros(1_000), np.ones(60)])
    found = profile_of(tmp_path, values, times=FIRST_MS + times)
    assert set(changes(found)[10:]) == {Change.TOO_SMALL}
    assert not found.drifted


def test_without_enough_first_rows_nothing_is_compared(tmp_path: Path) -> None:
    times = np.concatenate([[0], 10 * DAY_MS + np.arange(N) * 10 * DAY_MS // N])
    assert set(changes(profile_of(tmp_path, np.arange(N + 1.0), times=FIRST_MS + times))) == {Change.TOO_SMALL}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones(500), ["constant"]),
        (["a"] * 500, ["constant"]),
        ([[1.0]] * 500, []),
        (np.append(np.zeros(499), 5.0), ["nearly constant"]),
        (pa.nulls(500, pa.float64()), ["always null"]),
        (pa.array(np.arange(500.0), mask=np.arange(500) < 300), ["mostly null"]),
        (np.append(np.arange(499.0), np.inf), ["not finite"]),
        (np.append(np.ones(499), np.inf), ["nearly constant", "not finite"]),
        (np.arange(500), []),
    ],
)
def test_each_feature_has_the_words_that_it_deserves(tmp_path: Path, values: Any, words: list[str]) -> None:
    training_set(tmp_path, {"event.amount": values}, times=[FIRST_MS] * 500)
    profiles = profiles_of(tmp_path, task=None)
    assert [note.word for note in notes(profiles.features[0], profiles)] == words


def test_the_worth_of_a_feature_is_found_with_its_direction(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    labels = generator.random(N) < 0.2
    for sign in (1, -1):
        found = profile_of(tmp_path / str(sign), sign * (generator.normal(size=N) + labels), labels)
        assert found.worth is not None
        assert (found.worth.value.estimate > 0.5) == (sign == 1)
        assert found.worth.strength == pytest.approx(0.52, abs=0.05)
        assert found.worth.labelled == N
        inside = [part.worth.low < found.worth.value.estimate < part.worth.high for part in found.slices if part.worth]
        assert len(inside) == 20
        assert sum(inside) >= 17


def test_what_is_nearly_the_label_is_too_good(tmp_path: Path) -> None:
    labels = np.arange(N) % 10 == 0
    found = profile_of(tmp_path, labels + np.random.default_rng(6).normal(0, 0.1, N), labels)
    assert found.worth is not None
    assert found.worth.too_good


def test_nulls_that_know_the_label_are_too_good(tmp_path: Path) -> None:
    labels = np.arange(N) % 10 == 0
    found = profile_of(tmp_path, pa.array(np.random.default_rng(6).normal(size=N), mask=labels), labels)
    assert found.worth is not None
    assert found.worth.too_good


def test_a_few_labels_that_all_agree_prove_nothing(tmp_path: Path) -> None:
    labels = pa.array([True, False] * 9 + [None] * 982)
    found = profile_of(tmp_path, np.arange(1_000) % 2, labels)
    assert found.worth is not None
    assert not found.worth.too_good
    assert np.isnan(found.worth.value.estimate)


def test_features_that_have_nothing_to_do_with_the_label_say_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    columns = {f"taps.x{place}": generator.normal(size=2_000) for place in range(50)}
    columns["taps.city"] = generator.choice([f"c{place}" for place in range(300)], 2_000)
    found = profiles_of(training_set(tmp_path, columns, generator.random(2_000) < 0.1))
    assert [one.text for one in summary(found) if "say nothing" in one.text] == [
        "51 say nothing of the label by themselves"
    ]


def test_a_text_and_a_feature_that_is_worth_something_at_both_ends_have_information(tmp_path: Path) -> None:
    generator = np.random.default_rng(8)
    values = generator.normal(size=N)
    labels = (np.abs(values) > 1.5) & (generator.random(N) < 0.9)
    columns = {"taps.x": values, "taps.city": np.where(labels, "Graz", generator.choice(["Linz", "Graz"], N))}
    number, text = (one.worth for one in profiles_of(training_set(tmp_path, columns, labels)).features)
    assert number is not None
    assert text is not None
    assert number.strength < 0.1
    assert number.information.share.estimate > 0.4
    assert text.measure == "information"
    assert text.value.estimate > 0.1


@pytest.mark.parametrize(
    ("task", "labels", "measure"),
    [
        ("regression", lambda x, noise: x * 2 + noise, "Spearman"),
        (
            "multiclass",
            lambda x, noise: np.select([x + noise > 1, x + noise < -1], ["up", "down"], "flat"),
            "information",
        ),
    ],
)
def test_values_and_classes_as_labels_have_a_worth_of_their_own(
    tmp_path: Path, task: Any, labels: Any, measure: str
) -> None:
    generator = np.random.default_rng(9)
    x, noise = generator.normal(size=N), generator.normal(size=N)
    found = profile_of(tmp_path, x, labels(x, noise), task=task)
    assert found.worth is not None
    assert found.worth.measure == measure
    assert 0.2 < found.worth.strength < 0.95
    assert found.worth.value.low < found.worth.value.estimate < found.worth.value.high
    assert any(part.worth for part in found.slices)


def test_a_regression_that_is_its_own_feature_is_too_good(tmp_path: Path) -> None:
    values = np.random.default_rng(9).normal(size=N)
    found = profile_of(tmp_path, values, np.exp(values), task="regression")
    assert found.worth is not None
    assert found.worth.too_good


def test_features_that_say_the_same_are_listed_and_neighbours_in_the_matrix(tmp_path: Path) -> None:
    generator = np.random.default_rng(10)
    x, y = generator.normal(size=(2, 2_000))
    columns = {"taps.a": x, "taps.b": y, "taps.c": -np.exp(x), "taps.d": 2**60 + (y * 50).astype(np.int64)}
    columns |= {"taps.one": np.ones(2_000), "taps.list": [[1.0]] * 2_000}
    found = profiles_of(training_set(tmp_path, columns), task=None).correlation
    assert sorted(map(sorted, found.groups)) == [["taps.a", "taps.c"], ["taps.b", "taps.d"]]
    assert found.pairs == 2
    assert set(found.names) == {"taps.a", "taps.b", "taps.c", "taps.d"}
    a, c = found.names.index("taps.a"), found.names.index("taps.c")
    assert found.matrix[a, c] == pytest.approx(-1)
    assert abs(a - c) == 1


def test_the_part_test_of_a_training_set_is_not_looked_at(tmp_path: Path) -> None:
    labels = np.arange(1_000) % 2
    found = profiles_of(training_set(tmp_path, {"event.amount": labels * 1.0}, labels, split="test"))
    assert found.features[0].worth is not None
    assert found.features[0].worth.labelled == 0
    assert found.classes == (("negative", 0), ("positive", 0))


@pytest.mark.parametrize(
    ("name", "days", "says"),
    [
        ("taps.large_lifetime", 20, "may grow by itself"),
        ("taps.amount_mean_1h", 20, ""),
        ("taps.amount_mean_1h", 0.02, "may still have been filling"),
    ],
)
def test_a_change_that_a_window_makes_by_itself_is_named(tmp_path: Path, name: str, days: float, says: str) -> None:
    times = FIRST_MS + (np.arange(N) * days * DAY_MS / N).astype(np.int64)
    profiles = profiles_of(training_set(tmp_path, {name: np.arange(N)}, times=times), task=None)
    (changed,) = [note.text for note in notes(profiles.features[0], profiles) if note.word == "changed"]
    assert says in changed
    assert ("itself" in changed, "filling" in changed) == ("itself" in says, "filling" in says)
