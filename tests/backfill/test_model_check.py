"""`penstock model check` refuses each kind of bad version by its gate; the models are real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from backfill import model_check, running_version
from backfill.model_check import CheckRequest, check_version
from penstock.errors import PenstockError
from schemas.codec import Encoder
from schemas.records import DRIFT_SCHEMA
from scoring.gates.gates import Limits, Verdict
from scoring.gates.report import Report
from scoring.hosted_model import HostedModel, Probe
from scoring.onnx_session import open_session, scores_of
from scoring.repository import ModelRepository
from scoring.servers.protocol import InferenceError, ModelServerUnavailable
from scoring.trained_model import HostedVersion, ImportManifest, TrainedModel
from scoring.training import train
from scoring.training_set import Counts, TrainingSet, view_versions
from streams.plan.project import Project
from tests.examples.demo.test_evidence import ALERT
from tests.scoring.fake_hosted import HOSTED
from tests.streams.drift.test_training_reference import INPUTS, MONITORED, pipeline_of, project_of

PROJECT = project_of(pipeline_of(None))
NAME = PROJECT.pipeline.model.name
TRAINED, LATER = 3_000, 6_000
SLICE = LATER // 5


def events() -> TrainingSet:
    """Events of which the first were trained on; of the later ones, one slice of time has large second inputs."""
    rng = np.random.default_rng(1)
    n = TRAINED + LATER
    X = rng.normal(10, 2, (n, 2)).astype(np.float32)  # noqa: N806
    X[TRAINED + 2 * SLICE : TRAINED + 3 * SLICE, 1] += 100
    y = (X[:, 0] + rng.normal(0, 1.5, n) > 10.5).astype(np.int8)
    times, ids = np.arange(n, dtype=np.int64) * 60_000, tuple(map(str, range(n)))
    views = view_versions(PROJECT.plan, INPUTS)
    return TrainingSet(INPUTS, ids, times, np.zeros(n, np.int64), X, y, views, None, Counts(), "hash")


DATA = events()
COUNTRIES = ["x" if number % 4 == 0 else "y" for number in range(len(DATA))]


class Features:
    """The backfill's columns."""

    folder = Path("later")
    manifest = SimpleNamespace(identity="later")
    kinds = ["a"] * len(DATA)

    def columns(self) -> list[str]:
        return ["event_id", "event.country", "event.kind", *INPUTS]

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        columns = {"event_id": list(DATA.event_ids), "event.country": COUNTRIES, "event.kind": self.kinds}
        assert len(set(names)) == len(names)
        assert set(names) <= columns.keys()
        yield SimpleNamespace(column=lambda name: SimpleNamespace(to_pylist=lambda: columns[name]))


@pytest.fixture(scope="module")
def good() -> TrainedModel[Any]:
    return train(DATA.rows(np.arange(len(DATA)) < TRAINED), seed=1)


@pytest.fixture
def repository(good: TrainedModel[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRepository:
    """One version, that is served."""

    def unavailable(_: str) -> None:
        raise ModelServerUnavailable("none here")

    monkeypatch.setattr(model_check, "read_training_set", lambda *_: DATA)
    server = SimpleNamespace(name="Fake", versions=unavailable, close=lambda: None)
    monkeypatch.setattr(model_check, "open_server", lambda *_: server)
    monkeypatch.setattr(model_check, "_CALLS", {1: 200})
    repository = ModelRepository(tmp_path)
    repository.add(NAME, good)
    return repository


def check(
    repository: ModelRepository,
    project: Project = PROJECT,
    *,
    version: int | None = None,
    against: int | None = None,
    **limits: Any,
) -> Report:
    kafka = SimpleNamespace(access=None)
    settings: Any = SimpleNamespace(
        model_repository=repository.root, kafka=kafka, schema_registry_url=None, triton=SimpleNamespace(access=None)
    )
    features: Any = Features()
    return check_version(project, settings, features, CheckRequest(version, against, Limits(**limits), seed=1), print)


def changed(
    good: TrainedModel[Any], nodes: list[Any], constants: dict[str, np.ndarray], **manifest: Any
) -> TrainedModel[Any]:
    """The good model with its score changed by nodes, from ``plain`` to ``score``; ``vector`` has the inputs."""
    model = onnx.compose.add_prefix(onnx.load_model_from_string(good.onnx), "good/", rename_inputs=False)
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    model.graph.node.extend([helper.make_node("Identity", ["good/score"], ["plain"]), *nodes])
    model.graph.output[0].name = "score"
    origin = {"file": "bad.onnx", "sha256": "1", "producer": "", "output": "score", "column": 0, "nulls": {}}
    about = {
        "check_rows": 1,
        "check_sha256": "",
        "difference": 0.0,
        "trained_until_ms": int(DATA.event_times[TRAINED - 1]),
    }
    libraries = {"onnx": "1"}
    found = ImportManifest(inputs=INPUTS, libraries=libraries, **{"views": DATA.views, **origin, **about, **manifest})
    return TrainedModel(model.SerializeToString(), None, found)


def refused_by(report: Report) -> set[tuple[str, str]]:
    return {(one.gate, one.where) for one in report.results if one.verdict is Verdict.FAIL}


def test_the_first_version_is_judged_beside_a_constant_score(repository: ModelRepository) -> None:
    report = check(repository)
    assert (report.against, report.events, refused_by(report)) == (None, LATER, set())
    assert report.verdict is Verdict.PASS


def test_a_version_like_the_present_one_is_not_refused(good: TrainedModel[Any], repository: ModelRepository) -> None:
    repository.add(NAME, changed(good, [helper.make_node("Identity", ["plain"], ["score"])], {}))
    report = check(repository, groups=("event.country",))
    assert (report.version, report.against) == (2, 1)
    assert refused_by(report) == set()


def test_a_version_that_is_worse_in_one_slice_of_time_is_refused_for_that_slice(
    good: TrainedModel[Any], repository: ModelRepository
) -> None:
    nodes = [
        helper.make_node("Gather", ["features", "at second"], ["second"], axis=1),
        helper.make_node("Greater", ["second", "many"], ["is large"]),
        helper.make_node("Sub", ["one", "plain"], ["inverted"]),
        helper.make_node("Where", ["is large", "inverted", "plain"], ["score"]),
    ]
    constants = {"at second": np.array([1]), "many": np.array(60, np.float32), "one": np.array(1, np.float32)}
    repository.add(NAME, changed(good, nodes, constants))
    slices = {where for gate, where in refused_by(check(repository)) if gate == "quality"}
    assert "slice 3 of 5" in slices
    assert slices <= {"slice 3 of 5", "all events"}


def test_a_version_that_is_miscalibrated_is_refused_by_the_calibration(
    good: TrainedModel[Any], repository: ModelRepository
) -> None:
    nodes = [helper.make_node("Pow", ["plain", "power"], ["score"])]
    repository.add(NAME, changed(good, nodes, {"power": np.array(0.5, np.float32)}))
    assert ("calibration", "all events") in refused_by(check(repository))


def test_a_version_that_is_unfair_to_one_group_is_refused_by_the_fairness(
    good: TrainedModel[Any], repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = (DATA.X[:, 1] > 10).tolist()
    monkeypatch.setattr("tests.backfill.test_model_check.COUNTRIES", ["x" if one else "y" for one in large])
    nodes = [
        helper.make_node("Gather", ["features", "at second"], ["second"], axis=1),
        helper.make_node("Greater", ["second", "many"], ["is x"]),
        helper.make_node("Mul", ["plain", "less"], ["lowered"]),
        helper.make_node("Where", ["is x", "lowered", "plain"], ["score"]),
    ]
    constants = {"at second": np.array([1]), "many": np.array(10, np.float32), "less": np.array(0.55, np.float32)}
    repository.add(NAME, changed(good, nodes, constants))
    report = check(repository, groups=("event.country",))
    assert ("fairness", "event.country=x") in refused_by(report)


@pytest.mark.parametrize(("times_as_long", "verdict"), [(1.5, Verdict.FAIL), (1.1, Verdict.PASS)])
def test_a_version_that_is_slow_is_refused_by_the_latency(
    good: TrainedModel[Any],
    repository: ModelRepository,
    monkeypatch: pytest.MonkeyPatch,
    times_as_long: float,
    verdict: Verdict,
) -> None:
    now, opened = [0.0], list[Any]()

    def open_(file: Path) -> Any:
        opened.append(open_session(file))
        return opened[-1]

    def score(session: Any, vectors: Any) -> Any:
        now[0] += times_as_long if session is opened[0] else 1.0  # the judged version is opened first
        return scores_of(session, vectors)

    monkeypatch.setattr(running_version, "open_session", open_)
    monkeypatch.setattr(running_version, "scores_of", score)
    monkeypatch.setattr(model_check, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    repository.add(NAME, good)
    found = {one.verdict for one in check(repository, version=2, against=1).results if one.gate == "latency"}
    assert found == {verdict}


def test_a_version_without_a_number_for_nulls_is_refused_by_the_robustness(
    good: TrainedModel[Any], repository: ModelRepository
) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["most"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["most", "nothing"], ["null"]),
        helper.make_node("Add", ["plain", "null"], ["score"]),
    ]
    repository.add(NAME, changed(good, nodes, {"nothing": np.array(0, np.float32)}))
    assert ("robustness", "only nulls") in refused_by(check(repository))


def test_what_a_version_was_trained_on_must_be_known_and_be_older_than_the_holdout(
    good: TrainedModel[Any], repository: ModelRepository
) -> None:
    identity = [helper.make_node("Identity", ["plain"], ["score"])]
    repository.add(NAME, changed(good, identity, {}, trained_until_ms=None))
    report = check(repository)
    unsure = {one.gate for one in report.results if one.verdict is Verdict.INCONCLUSIVE}
    assert unsure >= {"holdout", "freshness"}
    repository.add(NAME, changed(good, identity, {}, trained_until_ms=int(DATA.event_times[-1])))
    with pytest.raises(PenstockError, match="the backfill has no labelled event after"):
        check(repository)


def test_other_views_and_a_column_that_is_not_there_are_named(
    good: TrainedModel[Any], repository: ModelRepository
) -> None:
    identity = [helper.make_node("Identity", ["plain"], ["score"])]
    repository.add(NAME, changed(good, identity, {}, views={"card_spend": "1:other"}))
    assert ("provenance", "manifest") in refused_by(check(repository))
    with pytest.raises(PenstockError, match=r"no column event\.city") as missing:
        check(repository, groups=("event.city",))
    assert missing.value.where == f"later, which has of the events: event.country, event.kind, {INPUTS[0]}"
    assert "passthrough" in str(missing.value.next)


def test_a_column_with_a_value_for_each_event_makes_no_groups(repository: ModelRepository) -> None:
    with pytest.raises(PenstockError, match="column event_id has 6,000 values, which are too many groups") as many:
        check(repository, groups=("event_id",))
    assert many.value.where == "groups = [...] of the file of gates"
    with pytest.raises(PenstockError, match="column event_id has 6,000 values") as declared:
        check(repository, declaring("event_id"))
    assert declared.value.where == f"Model(groups=(...)) of {PROJECT.reference}"


def declaring(*groups: str) -> Project:
    """The project whose model declares these groups."""
    model = PROJECT.pipeline.model.model_copy(update={"groups": groups})
    return replace(PROJECT, pipeline=PROJECT.pipeline.model_copy(update={"model": model}))


def compared(report: Report) -> set[str]:
    return {one.where.partition("=")[0] for one in report.results if one.gate == "fairness"}


def test_the_groups_that_the_definition_declares_are_compared_unless_the_gates_name_others(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Features, "kinds", ["a", "b"] * (len(DATA) // 2))
    plain, declared = check(repository), check(repository, declaring("event.country"))
    assert (compared(plain), compared(declared)) == (set(), {"event.country"})
    other = check(repository, declaring("event.country"), groups=("event.kind",))
    assert compared(other) == {"event.kind"}
    assert check(repository, groups=("event.country",)).basis == declared.basis
    assert len({report.basis for report in (plain, declared, other)}) == 3


def test_groups_of_a_gate_that_is_left_out_need_not_be_in_the_backfill(repository: ModelRepository) -> None:
    assert compared(check(repository, declaring("event.city"), skip=("fairness",))) == {""}


FAILING = [
    helper.make_node("Cast", ["features"], ["whole"], to=onnx.TensorProto.INT64),
    helper.make_node("Gather", ["whole", "at second"], ["second"], axis=1),
    helper.make_node("Gather", ["table", "second"], ["found"], axis=0),
    helper.make_node("Add", ["plain", "found"], ["score"]),
]


@pytest.mark.parametrize("known", [0, 300])
def test_a_version_that_fails_is_refused_by_the_robustness(
    known: int, good: TrainedModel[Any], repository: ModelRepository
) -> None:
    constants = {"at second": np.array([1]), "table": np.zeros(known, np.float32)}
    repository.add(NAME, changed(good, FAILING, constants))
    report = check(repository)
    assert report.verdict is Verdict.FAIL
    assert ("robustness", "greatest") in refused_by(report)
    assert (("robustness", "all events") in refused_by(report)) == (known == 0)
    (failure,) = [one for one in report.results if one.where == "greatest"]
    assert failure.measured.startswith("it failed: ")
    if known == 0:
        unsure = {one.gate for one in report.results if one.verdict is Verdict.INCONCLUSIVE}
        assert unsure == {"quality", "cost", "calibration", "latency"}


def test_a_version_whose_file_is_broken_is_refused(good: TrainedModel[Any], repository: ModelRepository) -> None:
    repository.add(NAME, replace(good, onnx=b"broken"))
    assert ("robustness", "all events") in refused_by(check(repository))


def test_the_report_says_why_it_compares_with_a_version(good: TrainedModel[Any], repository: ModelRepository) -> None:
    for _ in range(2):
        repository.add(NAME, good)
    repository.configure(NAME, 2)
    assert check(repository).compared_with == "version 2 (config.pbtxt names it, Fake cannot be asked)"
    assert check(repository, against=1).compared_with == "version 1"
    assert check(repository, version=2).compared_with == "no other version"


@pytest.mark.parametrize(("loaded", "says"), [((1, 2), "has loaded it"), ((2,), "has not loaded it")])
def test_the_report_says_whether_the_version_is_loaded(
    loaded: tuple[int, ...],
    says: str,
    good: TrainedModel[Any],
    repository: ModelRepository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository.add(NAME, good)
    states = [SimpleNamespace(version=number, state="READY") for number in loaded]
    server = SimpleNamespace(name="Fake", versions=lambda _: states, close=lambda: None)
    monkeypatch.setattr(model_check, "open_server", lambda *_: server)
    assert check(repository, skip=("latency",)).why_against == f"config.pbtxt names it, Fake {says}"


def test_a_server_that_fails_in_the_middle_leaves_the_latency_open(
    good: TrainedModel[Any], repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(*_: object, **__: object) -> None:
        raise InferenceError("gone")

    repository.add(NAME, good)
    states = [SimpleNamespace(version=number, state="READY") for number in (1, 2)]
    server = SimpleNamespace(name="Fake", versions=lambda _: states, close=lambda: None, infer=infer)
    monkeypatch.setattr(model_check, "open_server", lambda *_: server)
    (latency,) = [one for one in check(repository).results if one.gate == "latency"]
    assert (latency.verdict, latency.measured) == (Verdict.INCONCLUSIVE, "a call failed: gone")


def test_a_version_is_not_compared_with_itself(repository: ModelRepository) -> None:
    with pytest.raises(PenstockError, match="version 1 would be compared with itself"):
        check(repository, against=1)


def test_a_gate_that_is_left_out_is_not_measured_and_is_listed(
    good: TrainedModel[Any], repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.add(NAME, good)
    monkeypatch.setattr(model_check, "_times", None)
    report = check(repository, skip=("latency",))
    assert [one.verdict for one in report.results if one.gate == "latency"] == [Verdict.SKIPPED]


def test_an_open_drift_alert_makes_the_gates_inconclusive_until_it_is_closed(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = {**ALERT, "event_time": int(DATA.event_times[TRAINED])}
    record = SimpleNamespace(value=Encoder(DRIFT_SCHEMA).encode(alert))
    monkeypatch.setattr(model_check, "read_topic", lambda *_: [record])
    project = project_of(MONITORED)
    assert check(repository, project).verdict is Verdict.INCONCLUSIVE
    assert check(repository, project, closed_alerts=(ALERT["alert_id"],)).verdict is Verdict.PASS


def calling(good: TrainedModel[Any]) -> HostedVersion:
    """The good model, as one that only Triton has."""
    manifest = changed(good, [helper.make_node("Identity", ["plain"], ["score"])], {}).manifest
    return HostedVersion(
        manifest.model_copy(update={"hosted": HOSTED}), Probe(vectors=((1.0, 2.0),), scores=(0.5,)), good.score
    )


def test_a_version_whose_model_triton_cannot_call_is_refused_and_its_report_says_why(
    good: TrainedModel[Any], repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Triton:
        """Has no model."""

        def __init__(self, _: object) -> None: ...

        def score(self, hosted: HostedModel, vectors: np.ndarray) -> np.ndarray:
            raise PenstockError(f"{hosted.name} gives none of {vectors.shape[1]} inputs", where="Triton")

        def close(self) -> None: ...

    monkeypatch.setattr(running_version, "HostedModels", Triton)
    repository.add(NAME, calling(good))
    report = check(repository)
    assert ("robustness", "all events") in refused_by(report)
    assert report.basis is not None
    assert report.basis.failure == f"{HOSTED.name} gives none of {len(INPUTS)} inputs"


def test_a_version_that_calls_a_model_of_triton_is_judged_by_what_triton_answers(
    good: TrainedModel[Any], repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    session = open_session(good.onnx)

    class Triton:
        """Has the good model, and closes."""

        def __init__(self, _: object) -> None: ...

        def score(self, hosted: HostedModel, vectors: np.ndarray) -> np.ndarray:
            asked.append(hosted)
            return scores_of(session, vectors)

        def close(self) -> None:
            asked.append("closed")

    monkeypatch.setattr(running_version, "HostedModels", Triton)
    repository.add(NAME, calling(good))
    report = check(repository)
    assert report.version == 2
    assert {gate for gate, _ in refused_by(report)} <= {"latency"}
    assert [one.where for one in report.results if one.gate == "latency"] == ["1 row, by direct calls"]
    assert set(asked) == {HOSTED, "closed"}
