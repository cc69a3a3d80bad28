"""`penstock model rebuild` makes a version again with the same bytes, or names what differs and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from backfill import topic_reading
from penstock.commands.model import rebuilding
from penstock.errors import PenstockError
from penstock.kafka.reading import RecordsGoneError
from scoring import training
from scoring.version_files import verify_files
from tests.rebuilding import LABELS, Site, in_clean_process
from tests.scoring.scorer_bench import WEIGHTS, onnx_bytes

_TRAINER = """
from helper import weights
from tests.scoring.scorer_bench import onnx_bytes


def train(table, seed):
    return onnx_bytes(weights=weights(seed))
"""
_HELPER = """
import numpy as np


def weights(seed):
    return np.array([[0.05], [0.001], [seed / 8]], np.float32)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Site.make(tmp_path_factory.mktemp("made")).train(monkeypatch, "--seed", "3")


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Site:
    return made.copy(tmp_path / "elsewhere")


def wheres(found: Any, kind: str = "differences") -> list[str]:
    return [one["where"] for one in found[kind]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(done: Result) -> PenstockError:
    assert isinstance(done.exception, PenstockError), (done.output, done.exception)
    return done.exception


def test_a_process_in_a_clean_environment_with_only_repository_features_and_labels_makes_the_same_bytes(
    site: Site, tmp_path: Path
) -> None:
    instructions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # type: ignore[index]
    other_machine = {
        "TZ": "Asia/Tokyo",
        "PYTHONHASHSEED": "1",
        "LANG": "C",
        "OMP_NUM_THREADS": "1",
        "NPY_DISABLE_CPU_FEATURES": " ".join(instructions),
    }
    code, found = in_clean_process(site, tmp_path / "cwd", other_machine, "--out", "kept")
    assert (code, found["same"], found["differences"]) == (0, True, [])
    kept = tmp_path / "cwd" / "kept"
    assert {*found["files"]} == {"model.onnx", "baseline.onnx", "drift.json", "reasons.onnx"}
    for name in found["files"]:
        assert (kept / name).read_bytes() == (site.version / name).read_bytes(), name


@pytest.mark.parametrize(
    "given",
    [
        {"task": "binary", "category": False, "until": 1_800_000_000_400},
        {"task": "regression"},
        {"task": "multiclass"},
        {"task": "binary", "is_cascade": True},
    ],
    ids=lambda given: "-".join(map(str, given.values())),
)
def test_every_kind_of_training_is_made_again(given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = dict(given)
    until = ("--until", str(kind.pop("until"))) if "until" in kind else ()
    site = Site.make(tmp_path / "site", **kind).train(monkeypatch, *until)
    code, found = site.rebuild(monkeypatch)
    assert (code, found["differences"], found["changes"]) == (0, [], [])
    assert ("checkpoint.tl" in found["files"]) == (not kind.get("category", True))


def changed_label(site: Site) -> None:
    site.write_labels([("t0", True), *[("t1", False)] * 599])


def deleted_labels(site: Site) -> None:
    labels = site.labels()
    shutil.rmtree(site.archive)
    site.archive_labels(labels[3:])


def one_ulp(site: Site) -> None:
    site.edit_features("event.amount", 5, lambda value: float(np.nextafter(np.float32(value), np.float32(np.inf))))


def another_event(site: Site) -> None:
    site.edit_features("event_id", 5, lambda _: "another")


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        (changed_label, f"topic {LABELS}", "not with the same content"),
        (deleted_labels, f"topic {LABELS}", "retention, compaction or an erasure deleted some"),
        (one_ulp, "training set", "input event.amount: other values"),
        (another_event, "training set", "other events: 600 events then, 599 events now"),
    ],
)
def test_data_that_are_not_those_of_then_are_named_and_nothing_is_trained(
    change: Callable[[Site], None], where: str, what: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(site)
    code, found = site.rebuild(monkeypatch, "--out", str(site.folder / "kept"))
    assert (code, found["same"], found["files"], found["out"]) == (3, False, {}, None)
    assert any(one["where"] == where and what in one["what"] for one in found["differences"]), found
    assert not (site.folder / "kept").exists()


def test_a_label_that_came_later_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add_label(offset=300, tap="t5", truth=True)
    assert site.rebuild(monkeypatch)[0] == 0


def test_a_training_parameter_that_changed_is_named_with_the_files_that_it_changes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(training.PARAMETERS, "learning_rate", 0.1)
    code, found = site.rebuild(monkeypatch)
    assert code == 3
    assert {"model.onnx", "baseline.onnx", "reasons.onnx", "drift.json", "manifest.json"} == {*wheres(found)}
    assert {"where": "parameter learning_rate", "what": "0.08 then, 0.1 now"} in found["changes"]


@pytest.mark.parametrize(
    ("forged", "where"),
    [
        (lambda manifest: {"libraries": manifest["libraries"] | {"numpy": "1.0"}}, "package numpy"),
        (lambda manifest: {"recipe": manifest["recipe"] | {"code": "0"}}, "Penstock"),
        (lambda manifest: {"recipe": manifest["recipe"] | {"machine": {"libc": "x"}}}, "machine libc"),
    ],
)
def test_what_made_it_otherwise_is_named_though_the_bytes_are_the_same(
    forged: Callable[[Any], dict[str, Any]], where: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.edit_manifest(**forged(site.manifest()))
    code, found = site.rebuild(monkeypatch)
    assert (code, found["differences"]) == (0, [])
    assert where in wheres(found, "changes")


def test_a_manifest_that_says_other_things_of_the_model_is_named_by_its_fields(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.edit_manifest(rows=601, validation=site.manifest()["validation"] | {"auc": 0.99})
    code, found = site.rebuild(monkeypatch)
    assert code == 3
    assert [one["what"].partition(":")[0] for one in found["differences"]] == ["rows", "validation.auc"]


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("version=1, entity", "version=2, entity", "view activity"),
        ('"labels.rebuilt"', '"labels.moved"', "definition of labels"),
        ('"event.amount", "event.country"', '"event.country", "event.amount"', "definition of inputs"),
    ],
)
def test_a_definition_that_needs_other_data_now_is_named(
    before: str, after: str, where: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pipeline.write_text(site.pipeline.read_text().replace(before, after))
    code, found = site.rebuild(monkeypatch)
    assert code == 3
    assert where in wheres(found)


def test_monitors_that_changed_are_the_reason_for_another_drift_reference(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pipeline.write_text(site.pipeline.read_text().replace("window=100", "window=120"))
    code, found = site.rebuild(monkeypatch)
    assert (code, wheres(found), wheres(found, "changes")) == (3, ["drift.json"], ["definition of monitors"])


@pytest.mark.parametrize(("field", "changes"), [("recipe", {}), ("recipe.data", {"data": None})])
def test_a_version_of_an_earlier_build_says_which_field_it_lacks(
    field: str, changes: dict[str, Any], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.edit_manifest(recipe=site.manifest()["recipe"] | changes if changes else None)
    assert f"no field {field}," in refusal(site.model(monkeypatch, "rebuild", "1")).what


def test_labels_that_kafka_deleted_are_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Any, topic: str, **offsets: Any) -> Any:
        assert offsets == {"start": {0: 0, 1: 0}, "end": {0: 300, 1: 300}}
        raise RecordsGoneError("Kafka deleted records before they were read", where=f"{topic}[0]@0")

    monkeypatch.setattr(topic_reading, "read_topic", gone)
    code, found = site.rebuild(monkeypatch, "--backfill", str(site.backfill), data=False)
    assert code == 3
    assert found["differences"] == [{"where": f"{LABELS}[0]@0", "what": "Kafka deleted records before they were read"}]


def test_without_features_the_backfill_of_then_runs_again_in_a_folder_that_is_deleted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []

    def replay(_project: Any, _settings: Any, data: Any, folder: Path, archive: str | None) -> None:
        assert archive == str(site.archive)
        folders.append(folder)
        assert (data.offsets, data.views) == ({"events.rebuilt": {0: (0, 600)}}, ("activity",))
        shutil.copytree(site.backfill, folder, dirs_exist_ok=True)

    monkeypatch.setattr(rebuilding, "_replay", replay)
    code, _ = site.rebuild(monkeypatch, "--source", str(site.archive), data=False)
    assert code == 0
    assert not folders[0].exists()


def test_what_is_kept_is_a_whole_version_and_the_registry_is_as_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = contents(site.folder / "models"), site.folder / "kept"
    assert site.rebuild(monkeypatch, "--out", str(out))[0] == 0
    verify_files(out)
    assert contents(site.folder / "models") == before
    assert {path.name for path in out.iterdir()} == {path.name for path in site.version.iterdir()}


def test_a_file_of_the_version_that_changed_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.version / "model.onnx").write_bytes(b"")
    assert "model.onnx of the version has changed" in refusal(site.model(monkeypatch, "rebuild", "1")).what


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--onnx", "rebuilt.py"), "this one was trained"),
        (("--with", "a:b"), "this one is Penstock's own"),
        (("--out", "models/x"), "in the model repository"),
        (("--out", "features"), "is not empty"),
    ],
)
def test_an_option_without_a_meaning_is_a_usage_error(
    options: tuple[str, ...], says: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.folder)
    done = site.model(monkeypatch, "rebuild", "1", *options)
    assert (done.exit_code, says in done.output) == (2, True), done.output


@pytest.fixture
def by_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site.make(tmp_path / "site", category=False)
    (site.folder / "mine").mkdir()
    (site.folder / "mine" / "trainer.py").write_text(_TRAINER)
    (site.folder / "mine" / "helper.py").write_text(_HELPER)
    return site.train(monkeypatch, "--with", f"{site.folder}/mine/trainer.py:train", "--seed", "2")


def test_a_function_that_moved_makes_the_same_version(
    by_function: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (by_function.folder / "mine").rename(tmp_path / "moved")
    (tmp_path / "moved" / "trainer.py").write_text(_TRAINER + "\n# a comment\n")
    code, found = by_function.rebuild(monkeypatch, "--with", f"{tmp_path}/moved/trainer.py:train")
    assert (code, found["differences"], found["changes"]) == (0, [], [])


def test_a_function_that_is_not_where_it_was_asks_for_its_place(
    by_function: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(by_function.folder / "mine")
    assert "--with FUNCTION" in str(refusal(by_function.model(monkeypatch, "rebuild", "1")).next)


def test_a_function_whose_helper_changed_is_named(
    by_function: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(by_function.folder / "mine", tmp_path / "moved")
    (tmp_path / "moved" / "helper.py").write_text(_HELPER.replace("0.001", "0.002"))
    code, found = by_function.rebuild(monkeypatch, "--with", f"{tmp_path}/moved/trainer.py:train")
    assert code == 3
    assert "model.onnx" in wheres(found)
    assert "training function" in wheres(found, "changes")


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Imports a small network, with options, and with scores of the rows that have an error."""

    def make(*options: str, error: float = 0.0) -> Site:
        site = Site.make(tmp_path / "site", category=False)
        monkeypatch.chdir(site.folder)
        model = onnx.load_model_from_string(onnx_bytes(scores_all=True))
        if "--keep" in options:
            model.graph.output.append(onnx.helper.make_tensor_value_info("plain", onnx.TensorProto.FLOAT, [None, 1]))
        (site.folder / "risk.onnx").write_bytes(model.SerializeToString())
        vectors = np.random.default_rng(1).random((8, 3)).astype(np.float32)
        scores = 1 / (1 + np.exp(-(vectors @ WEIGHTS)[:, 0].astype(np.float64))) + error
        names = ("event.amount", "activity.amount_sum_1h", "activity.count_1h")
        pq.write_table(
            pa.table({**dict(zip(names, vectors.T, strict=True)), "score": scores}), site.folder / "rows.parquet"
        )
        done = site.model(monkeypatch, "import", *sources(site), *options)
        assert done.exit_code == 0, (done.output, done.exception)
        return site

    return make


def sources(site: Site) -> tuple[str, ...]:
    return ("--onnx", str(site.folder / "risk.onnx"), "--check-rows", str(site.folder / "rows.parquet"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), 0.0),
        (("--fp16",), 0.0),
        (("--backfill", "features", "--seed", "4"), 0.0),
        (("--output", "score", "--keep", "plain"), 0.0),
        (("--tolerance", "0.01", "--trained-until", "2026-01-01", "--null", "activity.count_1h=0"), 0.005),
    ],
)
def test_an_imported_version_is_made_again_of_its_file(
    options: tuple[str, ...], error: float, imported: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = imported(*options, error=error)
    code, found = site.rebuild(monkeypatch, *sources(site))
    assert (code, found["differences"], found["changes"]) == (0, [], [])
    assert ("drift.json" in found["files"]) == ("--backfill" in options)


def test_another_file_or_other_rows_than_were_imported_are_named(
    imported: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = imported()
    rows = site.folder / "rows.parquet"
    whole = pq.ParquetFile(rows).read()
    pq.write_table(whole.slice(1), rows)
    assert wheres(site.rebuild(monkeypatch, *sources(site))[1]) == ["rows.parquet"]
    pq.write_table(whole, rows)
    (site.folder / "risk.onnx").write_bytes(onnx_bytes())
    assert wheres(site.rebuild(monkeypatch, *sources(site))[1]) == ["risk.onnx"]


def test_an_imported_version_without_its_file_says_what_it_takes(
    imported: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refusal(imported().model(monkeypatch, "rebuild", "1"))
    assert "risk.onnx" in error.what
    assert "--onnx FILE --check-rows FILE" in str(error.next)
