"""Training sets as folders: the rows of a naive join, the hash of a model's training, the same bytes again."""

from __future__ import annotations

import errno
import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.labels import LabelReader
from backfill.training_parquet import VectorReader, feature_columns, feature_rows
from backfill.training_sets import build as build_module
from backfill.training_sets import parts
from backfill.training_sets.build import build_training_set
from backfill.training_sets.folder import TrainingSetFolder, open_training_set
from penstock.errors import PenstockError
from scoring.label_maturity import Maturity
from scoring.training_set import TrainingSet, join, view_versions
from tests.backfill.training_sets.worlds import INPUTS, OPINIONS, TO_MS, Event, Label, World, naive

numbers = st.sampled_from([None, 0.0, -0.0, 1.5, 2.0**-140, 1e30])
late, timestamps = st.sampled_from([0, 0, 0, 3]), st.integers(0, 2)


def events(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Event]:
    return st.builds(
        lambda id_, time, late, amount, mean, timestamp: Event(
            id_, time, time + late, (amount, 1.0, mean), timestamp=timestamp, scored_at=time
        ),
        ids,
        st.integers(0, 12),
        late,
        numbers,
        numbers,
        timestamps,
    )


def labels(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Label]:
    return st.builds(
        Label,
        ids,
        st.integers(0, 20),
        st.sampled_from([True, False, None]),
        st.sampled_from([0, 5, 10, 20]),
        st.integers(0, 1),
    )


DECLARED: list[dict[str, Any]] = [
    {},
    {"horizon": 3, "absent": "excluded"},
    {"horizon": 3, "absent": "negative"},
    {"otherwise": (OPINIONS,)},
    {"horizon": 3, "absent": "negative", "otherwise": (OPINIONS,)},
]


def rows_of(found: TrainingSetFolder) -> list[tuple[Any, ...]]:
    names = ["event_id", "event_time", "known_at", "label", "label_known_at"]
    table = found.arrow(names)
    columns = [
        (column.cast("int64") if "time" in name or "known" in name else column).to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    if not found.manifest.labels.otherwise:
        return list(zip(*columns, [None if known is None else 0 for known in columns[-1]], strict=True))
    topics = [found.manifest.labels.topic, *(one.topic for one in found.manifest.labels.otherwise)]
    sources = found.arrow(["label_source"])["label_source"].to_pylist()
    return list(zip(*columns, [None if one is None else topics.index(one) for one in sources], strict=True))


def in_memory(world: World, folder: Path, until_ms: int | None) -> TrainingSet:
    """The set of `penstock model train`."""
    project, backfill = world.project(), world.backfill(folder)
    labels = project.pipeline.labels
    assert labels is not None
    views = view_versions(project.plan, INPUTS)
    return join(
        feature_rows(VectorReader(INPUTS), views, backfill.batches(feature_columns(INPUTS, views))),
        LabelReader(labels, project.schemas).rows(world.records),
        inputs=INPUTS,
        views=views,
        until_ms=until_ms,
        task=labels.task,
        positive=None if labels.positive is None else str(labels.positive),
        maturity=Maturity.of(labels),
        sources=labels.topics,
    )


def require_equal(world: World, until_ms: int | None, folder: Path) -> None:
    """Check that a set is that of the naive join, of training in memory, and of the log of predictions."""
    expected = naive(world, 0, TO_MS, until_ms)
    trained = in_memory(world, folder / "set-backfill", until_ms)
    assert trained.event_ids == tuple(row[0] for row in expected)
    if not expected:
        with pytest.raises(PenstockError, match="no event of the range"):
            world.build(folder / "set", until_ms=until_ms)
        assert not (folder / "set").exists()
        return
    found = world.build(folder / "set", until_ms=until_ms)
    assert rows_of(found) == expected
    assert found.manifest.data_hash == trained.data_hash
    assert found.manifest.until_ms == trained.until_ms
    rows_by_source = {topic: of.rows for topic, of in found.manifest.label_sources.items()}
    assert rows_by_source == trained.label_sources
    vectors, truth = found.arrays()
    np.testing.assert_array_equal(vectors.view(np.uint32), trained.X.view(np.uint32))
    assert truth.tolist() == trained.y.tolist()
    counts = found.manifest.counts.model_dump()
    assert {name: counts.get(name, 0) for name in asdict(trained.counts)} == asdict(trained.counts)
    served = world.build(folder / "served", until_ms=until_ms, served=True)
    assert rows_of(served) == expected
    assert served.manifest.data_hash == trained.data_hash


@settings(max_examples=20, deadline=None)
@given(st.data(), st.sampled_from(DECLARED), st.none() | st.integers(0, 12))
def test_the_set_is_that_of_a_naive_join_and_of_training(
    data: st.DataObject, declared: dict[str, Any], until_ms: int | None
) -> None:
    of_events = data.draw(st.lists(events(st.sampled_from("abcdé")), min_size=1, max_size=12))
    world = World(of_events, data.draw(st.lists(labels(st.sampled_from("abcdéz")), max_size=20)), declared)
    # With a horizon and no label at all there is no set.
    assume("horizon" not in declared or any([*world.of_source(0), *world.of_source(1)]))
    with TemporaryDirectory() as folder:
        require_equal(world, until_ms, Path(folder))


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("until_ms", [None, 10])
def test_so_is_that_of_a_crowd_in_which_every_tie_and_limit_is_met(
    tmp_path: Path, declared: dict[str, Any], until_ms: int | None
) -> None:
    rng = np.random.default_rng(11)

    def draw(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    of_events = [
        Event(f"e{rng.integers(300)}", time, time + draw(0, 0, 3), (float(n), 1.0, None), timestamp=draw(0, 1, 2))
        for n, time in enumerate(rng.integers(0, 13, 400).tolist())
    ]
    of_labels = [
        Label(
            f"e{rng.integers(320)}", int(rng.integers(0, 21)), draw(True, False, None), draw(5, 10, 20), draw(0, 0, 1)
        )
        for _ in range(1_500)
    ]
    require_equal(World(of_events, of_labels, declared), until_ms, tmp_path)


def test_a_label_whose_clock_is_ahead_makes_no_event_mature(tmp_path: Path) -> None:
    of_labels = [Label("a", 5, True, 5), Label("z", 900, True, 8)]
    world = World([Event("a", 0, 0), Event("b", 4, 4)], of_labels, {"horizon": 5, "absent": "negative"})
    require_equal(world, None, tmp_path)
    assert open_training_set(tmp_path / "set").manifest.until_ms == 8


def test_a_hash_does_not_depend_on_how_the_rows_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MANY.build(tmp_path / "whole").manifest
    monkeypatch.setattr(parts, "_ROWS_PER_GROUP", 7)
    assert MANY.build(tmp_path / "cut").manifest.data_hash == whole.data_hash


def test_files_have_as_many_rows_as_they_may_and_row_groups_one_length(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    batches = [pa.record_batch([pa.array(range(n, n + 4))], schema=schema) for n in range(0, 44, 4)]
    made = parts.write_parts(tmp_path, schema, batches, rows_per_part=10)
    assert [part.rows for part in made] == [10, 10, 10, 10, 4]
    assert pq.read_table(tmp_path)["x"].to_pylist() == list(range(44))


MANY = World(
    [Event(f"e{n}", n, n, (n / 7, 1.0, None), card=f"c{n % 5}", timestamp=n, scored_at=n) for n in range(400)],
    [Label(f"e{n}", n + n % 20, n % 3 == 0) for n in range(390)] + [Label("end", 400, True)],
    {"horizon": 20, "absent": "negative"},
)


@pytest.mark.parametrize(
    ("declared", "value_of"),
    [
        ({"value": "loss", "task": "regression"}, lambda n: n / 3),
        ({"value": "kind", "task": "multiclass", "positive": "a"}, lambda n: "abc"[n % 3]),
    ],
)
def test_sets_of_values_and_of_classes_have_the_hash_of_training(
    tmp_path: Path, declared: dict[str, Any], value_of: Any
) -> None:
    world = World(MANY.events, [Label(f"e{n}", n + 1, value_of(n)) for n in range(400)], declared)
    found = world.build(tmp_path / "set")
    trained = in_memory(world, tmp_path / "set-backfill", None)
    assert found.manifest.data_hash == trained.data_hash
    assert found.manifest.classes == trained.classes
    assert found.arrays()[1].tolist() == trained.y.tolist()


def contents(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != ".lock"
    }


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (MANY.build(tmp_path / name, probe=True) for name in ("one", "two"))
    assert contents(first.folder) == contents(second.folder)
    first.verify()


@pytest.mark.parametrize("step", ["stage_labels", "stage_backfill", "write_parts", "check_leaks", "data_hash", "save"])
def test_a_build_that_was_killed_at_any_step_gives_the_same_bytes_when_it_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    clean = contents(MANY.build(tmp_path / "clean").folder)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module.TrainingSetManifest if step == "save" else build_module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            MANY.build(tmp_path / "set")
    with pytest.raises(PenstockError, match="no complete training set"):
        open_training_set(tmp_path / "set")
    assert contents(MANY.build(tmp_path / "set").folder) == clean


def test_a_folder_that_has_the_set_is_left_as_it_is_and_another_request_is_refused(tmp_path: Path) -> None:
    before = contents(MANY.build(tmp_path / "set").folder)
    _, is_new = build_training_set(
        MANY.project(), MANY.inputs(tmp_path / "set-backfill"), MANY.request(served=False), tmp_path / "set"
    )
    assert not is_new
    with pytest.raises(PenstockError, match="its seed is 0, not 1"):
        MANY.build(tmp_path / "set", seed=1)
    with pytest.raises(PenstockError, match="the declaration of the labels has changed"):
        World(MANY.events, MANY.labels, {"horizon": 21, "absent": "negative"}).build(tmp_path / "set")
    assert contents(tmp_path / "set") == before


def test_a_set_names_the_backfill_that_it_is_of_and_another_one_is_refused(tmp_path: Path) -> None:
    made = MANY.build(tmp_path / "set").manifest
    inputs = MANY.inputs(tmp_path / "again")
    assert inputs.backfill is not None
    assert made.backfill == inputs.backfill.manifest.identity
    assert MANY.build(tmp_path / "served", served=True).manifest.backfill is None
    same, folder = inputs.backfill.manifest, tmp_path / "set"
    assert build_training_set(MANY.project(), inputs, MANY.request(served=False), folder) == (made, False)
    end = {number: offset + 1 for number, offset in same.replay.end.items()}
    later = same.model_copy(update={"replay": same.replay.model_copy(update={"end": end})})
    other = replace(inputs, backfill=replace(inputs.backfill, manifest=later))
    with pytest.raises(PenstockError, match="it is of another backfill"):
        build_training_set(MANY.project(), other, MANY.request(served=False), folder)


def test_a_folder_with_other_files_is_refused_and_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").write_text("mine")
    with pytest.raises(PenstockError, match=r"not of a training set, such as thesis\.txt"):
        MANY.build(tmp_path / "set")
    assert (tmp_path / "set" / "thesis.txt").read_text() == "mine"


def test_parts_that_another_program_wrote_are_kept(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part-00000.parquet").write_text("mine")
    with pytest.raises(PenstockError, match=r"not of a training set, such as part-00000\.parquet"):
        MANY.build(tmp_path / "set")
    assert {path.name for path in (tmp_path / "set").iterdir()} == {".lock", "part-00000.parquet"}


def test_a_folder_of_ones_own_is_empty_again_after_a_build_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "set").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(build_module.TrainingSetManifest, "save", full)
        with pytest.raises(PenstockError, match="No space left"):
            MANY.build(tmp_path / "set")
    assert {path.name for path in (tmp_path / "set").iterdir()} == {".lock"}
    assert MANY.build(tmp_path / "set").manifest.rows


def test_a_damaged_file_of_the_set_is_found(tmp_path: Path) -> None:
    found = MANY.build(tmp_path / "set")
    file = found.files[0]
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(PenstockError, match=r"part-00000\.parquet of the training set is missing or damaged"):
        found.verify()
    file.unlink()
    with pytest.raises(PenstockError, match="missing or damaged"):
        open_training_set(tmp_path / "set")


def test_a_damaged_file_of_the_backfill_is_named_and_leaves_no_set(tmp_path: Path) -> None:
    backfill = MANY.backfill(tmp_path / "set-backfill")
    part = backfill.folder / backfill.manifest.parts[0].file
    content = bytearray(part.read_bytes())
    content[4:400] = bytes(396)
    part.write_bytes(content)
    with pytest.raises(PenstockError, match="a file cannot be read or written"):
        MANY.build(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_range_that_the_backfill_lacks_is_refused_with_the_one_that_it_has(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="the backfill has events from 1970"):
        MANY.build(tmp_path / "set", to_ms=2**41)


def test_too_few_labels_refuse_the_set(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match=r"only 0\.3% of the mature events have a label, 1 of 381 events"):
        World(MANY.events, [Label("e1", 1, True), Label("end", 400, True)], {"horizon": 20}).build(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_topic_without_labels_makes_no_set_of_negatives(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="no label has come"):
        World(MANY.events, [], {"horizon": 20, "absent": "negative"}).build(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_parts_are_cut_at_event_times_and_events_of_one_time_stay_together(tmp_path: Path) -> None:
    world = World(
        [Event(f"e{n}", n // 10, n // 10, timestamp=n) for n in range(100)],
        [Label(f"e{n}", 50, n % 2 == 0) for n in range(100)],
    )
    table = world.build(tmp_path / "set", split=("0.55", "0.25", "0.2")).arrow(["event_time", "split"])
    found = set(zip(table["event_time"].cast("int64").to_pylist(), table["split"].to_pylist(), strict=True))
    assert sorted(found) == [
        *((n, "train") for n in range(5)),
        *((n, "validation") for n in range(5, 8)),
        (8, "test"),
        (9, "test"),
    ]


def test_an_embargo_leaves_out_rows_whose_labels_were_not_final_when_the_next_part_began(tmp_path: Path) -> None:
    found = MANY.build(tmp_path / "set", embargo=True)
    table = found.arrow(["event_time", "split"])
    of = dict(zip(table["event_time"].cast("int64").to_pylist(), table["split"].to_pylist(), strict=True))
    assert (of[170], of[171], of[189], of[190]) == ("train", "embargo", "embargo", "validation")
    assert found.manifest.splits["embargo"].rows == 38
    with pytest.raises(PenstockError, match="have no horizon"):
        World(MANY.events, MANY.labels).build(tmp_path / "other", embargo=True)


def test_the_arrival_curve_is_the_share_of_mature_events_with_a_label_by_age_and_class(tmp_path: Path) -> None:
    minute = 60_000
    world = World(
        [Event(f"e{n}", 0, 0, timestamp=n) for n in range(10)],
        [
            Label("e0", minute, True),
            Label("e1", minute + 1, True),
            Label("e2", 30 * minute, False),
            Label("end", 10**8, True, 10**8),
        ],
        {"horizon": "1h", "absent": "excluded"},
    )
    curve = world.build(tmp_path / "set").manifest.arrival
    assert [(one.age_ms // minute, one.labelled, one.classes) for one in curve] == [
        (1, 0.1, {"0": 0.0, "1": 0.5}),
        (5, 0.2, {"0": 0.0, "1": 1.0}),
        (15, 0.2, {"0": 0.0, "1": 1.0}),
        (60, 0.3, {"0": 1.0, "1": 1.0}),
    ]


def selective(**declared: Any) -> World:
    policy = {"score": 0.9, "propensity": 0.01}
    return World(
        [
            Event("pass", 1, 1, score=0.1, propensity=0.99),
            Event("block", 2, 2, score=0.9, propensity=0.99),
            Event("explored", 3, 3, explored=True, **policy),
            Event("explored anyway", 4, 4, score=0.1, explored=True, propensity=0.01),
            Event("explored before", 5, 5, explored=True, policy="older", **policy),
            Event("not scored", 6, 6, score=None),
        ],
        [Label("end", 100, True)],
        {"horizon": 10, "absent": "negative"} | declared,
    )


@pytest.mark.parametrize("served", [False, True])
def test_the_probability_of_being_seen_is_the_propensity_where_the_decision_would_have_hidden_the_outcome(
    tmp_path: Path, served: bool
) -> None:
    found = selective(hidden_by="block").build(tmp_path / "set", served=served)
    table = found.arrow(["event_id", "p_observed"])
    expected = {"pass": 1.0, "block": None, "explored": 0.01, "explored anyway": 1.0, "explored before": None}
    expected |= {} if served else {"not scored": 1.0}
    assert dict(zip(*(column.to_pylist() for column in table.columns), strict=True)) == expected
    selection = found.manifest.selection
    assert (selection.declined, selection.declined_unlabelled, selection.explored, selection.other_policy) == (
        1,
        1,
        1,
        1,
    )
    assert selection.unknown_share == round(1 / len(expected), 6)


def test_an_exploration_without_a_declared_decision_that_hides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="3 predictions are of an exploration slice") as error:
        selective().build(tmp_path / "set", served=True)
    assert "Labels(hidden_by='block')" in str(error.value)


@pytest.fixture
def other_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second prediction was made with another version of the view."""
    made = World._prediction

    def odd(self: World, event: Event, offset: int) -> dict[str, Any]:
        prediction = made(self, event, offset)
        if offset % 2:
            prediction["views"][0]["view"] = "taps@7"
        return prediction

    monkeypatch.setattr(World, "_prediction", odd)


@pytest.mark.usefixtures("other_views")
def test_vectors_of_other_views_do_not_count(tmp_path: Path) -> None:
    found = MANY.build(tmp_path / "set", served=True)
    assert found.manifest.counts.predictions_refused == 200
    assert found.manifest.versions == {"taps@1": found.manifest.rows}


@pytest.mark.usefixtures("other_views")
def test_a_decision_hides_outcomes_whatever_views_it_was_made_with(tmp_path: Path) -> None:
    world = selective(hidden_by="block")
    assert world.build(tmp_path / "set").manifest.selection.declined == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (duckdb.OutOfMemoryException("failed to allocate"), "DuckDB cannot join the set within 512MB"),
    ],
)
def test_a_build_without_room_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(build_module, "write_parts", fail)
    with pytest.raises(PenstockError, match=says):
        MANY.build(tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_disk_of_the_staged_files_is_free_again(tmp_path: Path) -> None:
    folder = MANY.build(tmp_path / "set").folder
    assert {path.name for path in folder.iterdir()} == {".lock", "manifest.json", "part-00000.parquet"}
    shutil.rmtree(folder)
