"""A model from topics to scores, on the real Kafka and the real Triton."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from backfill.parquet import Backfill
from backfill.topic_reading import topics_of
from backfill.training_parquet import read_training_set
from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.settings import Settings
from penstock.triton import TritonAccess
from scoring.repository import ModelRepository
from scoring.servers.protocol import InferenceError, ModelServerUnavailable
from scoring.servers.triton import TritonServer
from scoring.training import score_onnx
from scoring.training_set import TrainingSet
from scoring.version_files import write_hashes
from scoring.version_loading import load_version
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.plan.project import open_project
from tests.backfills import write_backfill
from tests.scoring.scorer_bench import wait_for

EVENTS = 800
DEFINITION = '''
from typing import Annotated

from pydantic import Field

from penstock import ENTITY, EVENT_ID, EVENT_TIME, Contract, Entity, Labels, Model, Pipeline, Source, View, count, mean


class Tap(Contract, name="tap_{suffix}", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME, Field(ge=0)]
    card: Annotated[str, ENTITY]
    amount: float


class Verdict(Contract, name="verdict_{suffix}", version=1):
    """What it turned out to be."""

    id: Annotated[str, EVENT_ID]
    known_at: Annotated[int, EVENT_TIME, Field(ge=0)]
    fraud: bool


card = Entity(name="card", key="card")
taps = View(name="taps", version=1, entity=card, aggregates=(count(over="1h"), mean("amount", over="1h")))
pipeline = Pipeline(
    name="taps_{suffix}",
    source=Source(topic="events.taps_{suffix}", contract=Tap, key="card", partitions=2),
    entities=(card,),
    views=(taps,),
    model=Model(
        name="taps_{suffix}", inputs=("event.amount", *taps.inputs()), threshold=0.5, positive="block", negative="pass"
    ),
    labels=Labels(topic="labels.taps_{suffix}", contract=Verdict, value="fraud"),
)
'''


@dataclass
class ModelWorld:
    """A pipeline with filled topics, and the commands to run on it."""

    pipeline: Pipeline
    file: Path
    settings: Settings
    kafka: KafkaAccess
    truth: dict[str, bool]
    backfill: Backfill

    @property
    def repository(self) -> ModelRepository:
        return ModelRepository(self.settings.model_repository)

    def run(self, *arguments: str, mix_stderr: bool = True) -> Result:
        """Run a command; without ``mix_stderr`` its output has no progress."""
        return CliRunner(mix_stderr=mix_stderr).invoke(cli, ["model", arguments[0], str(self.file), *arguments[1:]])

    def report(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the JSON of a command that looks at the events of the backfill."""
        done = self.run(*arguments, "--backfill", str(self.backfill.folder), "--json", mix_stderr=False)
        return done.exit_code, json.loads(done.output)

    def train(self, *arguments: str) -> Result:
        return self.run("train", "--backfill", str(self.backfill.folder), *arguments)

    def training_set(self, until_ms: int | None = None) -> TrainingSet:
        return read_training_set(open_project(str(self.file)), topics_of(self.kafka).read, self.backfill, until_ms)


@pytest.fixture
def world(settings: Settings, tmp_path: Path, suffix: str, create_topic: Callable[..., str]) -> Iterator[ModelWorld]:
    file = tmp_path / f"taps_{suffix}.py"
    file.write_text(DEFINITION.replace("{suffix}", suffix))
    pipeline = load_pipeline(str(file))
    assert pipeline.labels is not None
    create_topic(pipeline.labels.topic, partitions=2)
    truth = label_all(pipeline, settings.kafka.access, suffix)
    backfill = write_backfill(pipeline, tmp_path / "backfill", list(events(pipeline, truth)))
    found = ModelWorld(pipeline, file, settings, settings.kafka.access, truth, backfill)
    yield found
    if found.repository.versions(pipeline.model.name):
        TritonServer(settings.triton.access).unload(pipeline.model.name)
        shutil.rmtree(settings.model_repository / pipeline.model.name)


def events(pipeline: Pipeline, truth: dict[str, bool]) -> Iterator[dict[str, Any]]:
    """Event i happens at i. The mean over the window carries the signal."""
    rng = np.random.default_rng(0)
    for i, (event_id, fraud) in enumerate(truth.items()):
        mean = None if i % 7 == 0 else float(rng.normal(2 if fraud else 0))
        yield {
            "event_id": event_id,
            "event_time": i,
            "trigger": "event",
            "attempt": 0,
            "source": {"topic": pipeline.source.topic, "partition": 0, "offset": i, "timestamp": i},
            "event": {"amount": float(rng.normal())},
            "taps": {
                "entity": "c", "epoch": 1, "seq": i, "as_of": i, "late": False, "count_1h": 1, "amount_mean_1h": mean
            },
        }  # fmt: skip


def label_all(pipeline: Pipeline, kafka: KafkaAccess, suffix: str) -> dict[str, bool]:
    """The label of event i is known at i + 100; an aborted transaction holds nonsense."""
    assert pipeline.labels is not None
    topic = pipeline.labels.topic
    producer = Producer({**kafka.client(), "transactional.id": f"test-{suffix}"})
    producer.init_transactions(15)

    def label(i: int, fraud: bool, known_at: int) -> None:
        producer.produce(topic, json.dumps({"id": f"e{i}", "known_at": known_at, "fraud": fraud}), partition=i % 2)

    producer.begin_transaction()
    for i in range(EVENTS):
        label(i, fraud=True, known_at=0)
    producer.flush()
    producer.abort_transaction(15)

    producer.begin_transaction()
    truth = {f"e{i}": bool(fraud) for i, fraud in enumerate(np.random.default_rng(1).random(EVENTS) < 0.3)}
    for i, fraud in enumerate(truth.values()):
        label(i, fraud, known_at=i + 100)
    producer.produce(topic, b"not a label", partition=0)
    producer.commit_transaction(15)
    return truth


def vectors(rows: int) -> np.ndarray:
    matrix = np.random.default_rng(1).normal(size=(rows, 3)).astype(np.float32)
    matrix[::5, 1] = np.nan
    return matrix


def test_the_training_set_has_the_backfilled_events_and_the_committed_labels_known_by_then(world: ModelWorld) -> None:
    result = world.training_set(until_ms=599)
    assert result.event_ids == tuple(f"e{i}" for i in range(500))
    assert result.y.tolist() == [int(world.truth[name]) for name in result.event_ids]
    assert np.nanmax(np.abs(result.X)) < 100
    assert np.isnan(result.X[::7, result.inputs.index("taps.amount_mean_1h")]).all()
    assert result.counts.labels_refused == 1
    assert result.counts.labels_after_until == EVENTS - 500
    assert world.training_set(until_ms=599).data_hash == result.data_hash


def test_without_a_limit_the_training_set_has_all_labelled_events(world: ModelWorld) -> None:
    assert len(world.training_set()) == EVENTS


def test_a_set_of_the_command_is_that_of_training_and_a_horizon_leaves_out_who_is_too_young(
    world: ModelWorld, tmp_path: Path
) -> None:
    def build(file: Path, name: str) -> dict[str, Any]:
        options = ["--from", "1970-01-01T00:00:00", "--to", "1970-01-01T00:00:01", "--out", str(tmp_path / name)]
        backfill = ["--backfill", str(world.backfill.folder), "--json"]
        done = CliRunner().invoke(cli, ["training-set", "build", str(file), *options, *backfill])
        assert done.exit_code == 0, done.output
        manifest: dict[str, Any] = json.loads(done.output.splitlines()[-1])
        return manifest

    assert build(world.file, "any-age")["data_hash"] == world.training_set().data_hash
    mature = tmp_path / f"mature_{world.file.name}"
    mature.write_text(world.file.read_text().replace('value="fraud"', 'value="fraud", horizon="200ms"'))
    found = build(mature, "mature")
    trained = read_training_set(open_project(str(mature)), topics_of(world.kafka).read, world.backfill)
    assert found["data_hash"] == trained.data_hash
    # The last label is known at 899.
    assert (found["rows"], found["until_ms"], trained.until_ms) == (700, EVENTS + 99, EVENTS + 99)


def test_a_model_trained_and_loaded_by_the_commands_scores_as_its_file_does(world: ModelWorld) -> None:
    name = world.pipeline.model.name
    trained = world.train("--until", "1970-01-01T00:00:00.850")
    assert trained.exit_code == 0, trained.output
    assert f"{name} version 1" in trained.output
    assert "without windowed features 0." in trained.output
    loaded = world.run("load")
    assert loaded.output == f"Triton serves {name} version 1 (python backend)\n"

    triton = TritonServer(world.settings.triton.access)
    served = triton.metadata(name)
    assert (served.version, served.inputs) == (1, world.pipeline.model.inputs)
    for rows in (1, 1000, 4096):
        expected = score_onnx(world.repository.folder(name, 1) / "model.onnx", vectors(rows))
        np.testing.assert_array_equal(triton.infer(name, 1, vectors(rows), 10)[:, 0], expected)
    (listed,) = json.loads(world.run("list", "--json").output)
    assert (listed["aliases"], listed["state"]) == (["champion"], "READY")


def test_concurrent_requests_get_their_own_scores(world: ModelWorld) -> None:
    name = world.pipeline.model.name
    world.train()
    world.run("load")
    matrix = vectors(400)
    expected = score_onnx(world.repository.folder(name, 1) / "model.onnx", matrix)
    answers: dict[int, np.ndarray] = {}

    def ask(start: int) -> None:
        answers[start] = TritonServer(world.settings.triton.access).infer(name, 1, matrix[start : start + 25], 20)[:, 0]

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(0, 400, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.concatenate([answers[start] for start in sorted(answers)]), expected)


def test_triton_does_not_compute_a_request_whose_deadline_passes_in_its_queue(
    world: ModelWorld, tmp_path: Path
) -> None:
    name, calls, go_on = world.pipeline.model.name, tmp_path / "calls", tmp_path / "go-on"
    world.train()
    script = world.repository.folder(name, 1) / "model.py"
    waiting = f"""        import pathlib, time
        with open({str(calls)!r}, "a") as file:
            file.write("a call\\n")
        while not pathlib.Path({str(go_on)!r}).exists():
            time.sleep(0.01)
"""
    begin = "        vectors = [pb_utils"
    text = script.read_text(encoding="utf-8")
    assert text.count(begin) == 1
    script.write_text(text.replace(begin, waiting + begin), encoding="utf-8")
    write_hashes(script.parent)
    load_version(world.repository, TritonServer(world.settings.triton.access), name)

    def ask(deadline_s: float) -> np.ndarray:
        return TritonServer(world.settings.triton.access).infer(name, 1, vectors(1), deadline_s)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, 10.0)
        wait_for(calls.exists, 10, "the first call")
        tensor = InferInput("features", [1, 3], "FP32")
        tensor.set_data_from_numpy(vectors(1))
        client = InferenceServerClient(**world.settings.triton.access.client())
        # Without a deadline of the client, so that it is Triton that answers.
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*Request timeout expired"):
            client.infer(name, [tensor], model_version="1", timeout=100_000)
        with pytest.raises(InferenceError) as late:
            ask(0.1)
        assert late.value.late
        go_on.touch()
        assert len(first.result()) == len(ask(10.0)) == 1
    assert calls.read_text().splitlines() == ["a call"] * 2


def test_a_second_version_loads_beside_the_first_without_a_failed_request(world: ModelWorld) -> None:
    name = world.pipeline.model.name
    world.train("--until", "1970-01-01T00:00:00.700")
    world.run("load")
    matrix = vectors(50)
    first = score_onnx(world.repository.folder(name, 1) / "model.onnx", matrix)
    done, wrong, asked = threading.Event(), [], []

    def keep_asking() -> None:
        triton = TritonServer(world.settings.triton.access)
        while not done.wait(0.005):
            try:
                asked.append(1)
                np.testing.assert_array_equal(triton.infer(name, 1, matrix, 5)[:, 0], first)
            except (InferenceError, AssertionError) as error:
                wrong.append(error)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        world.train("--seed", "1")
        loaded = world.run("load")
    finally:
        done.set()
        asking.join()
    assert "version 2 (python backend), version 1 stays loaded" in loaded.output
    assert wrong == []
    assert len(asked) > 10
    triton = TritonServer(world.settings.triton.access)
    second = score_onnx(world.repository.folder(name, 2) / "model.onnx", matrix)
    np.testing.assert_array_equal(triton.infer(name, 2, matrix, 5)[:, 0], second)
    np.testing.assert_array_equal(triton.infer(name, 1, matrix, 5)[:, 0], first)
    assert triton.metadata(name).version == 2


def test_a_version_is_judged_on_later_events_beside_the_one_before_and_an_inverted_one_is_refused(
    world: ModelWorld, tmp_path: Path
) -> None:
    until = "1970-01-01T00:00:00.400"
    for seed in ("0", "1"):
        world.train("--until", until, "--seed", seed)
        world.run("load")
    code, report = world.report("check", "--against", "1")
    assert code in (0, 11), report  # with few events and a busy machine, not every gate can tell
    assert (report["version"], report["against"]) == (2, 1)
    assert report["events"] > EVENTS / 3
    assert {gate["where"] for gate in report["gates"] if gate["gate"] == "latency"} >= {"1 row, on Triton"}

    import_inverted(world, tmp_path, until)
    code, report = world.report("check")
    assert code == 10
    failed = {gate["gate"] for gate in report["gates"] if gate["verdict"] == "fail"}
    assert failed >= {"quality", "cost", "calibration"}


def test_a_version_is_promoted_on_its_gates_a_worse_one_is_refused_and_an_override_is_on_the_record(
    world: ModelWorld, tmp_path: Path
) -> None:
    name, until, later = world.pipeline.model.name, "1970-01-01T00:00:00.400", str(world.backfill.folder)
    world.train("--until", until, "--author", "ada", "--incident", "incident 7")
    assert json.loads(world.run("show", "1", "--json").output)["manifest"]["provenance"]["author"] == "ada"
    assert "incident 7" in world.run("show", "1").output
    assert world.run("load").exit_code == 0
    import_inverted(world, tmp_path, until)

    refused = world.run("promote", "2", "--backfill", later)
    assert refused.exit_code == 10
    assert "quality (all events) fail: brier loss, difference" in refused.output
    assert TritonServer(world.settings.triton.access).metadata(name).version == 1
    _, compared = world.report("compare", "1", "2")
    assert all(one["low"] > 0 for one in compared["losses"] if one["where"] == "all events")

    assert world.run("promote", "2", "--backfill", later, "--override", "a rehearsal").exit_code == 0
    assert TritonServer(world.settings.triton.access).metadata(name).version == 2
    assert world.run("load", "--version", "1").exit_code == 0
    assert world.run("unload").exit_code == 0
    changes = json.loads(world.run("history", "--json").output)
    champions = [(one["from"], one["to"], one["command"]) for one in changes if one["alias"] == "champion"]
    configured, loaded = (None, 1, "train"), (1, 1, "load")
    assert champions == [configured, loaded, (1, 2, "promote"), (2, 1, "load"), (1, None, "unload")]
    assert [one["override"] for one in changes if one["command"] == "promote"] == ["a rehearsal"] * 2
    assert "overridden: a rehearsal" in world.run("list").output
    card = tmp_path / "card.html"
    assert world.run("card", "2", "--out", str(card)).exit_code == 0
    assert "a rehearsal" in card.read_text(encoding="utf-8")


def test_a_version_of_another_repository_is_registered_and_served(world: ModelWorld, tmp_path: Path) -> None:
    name = world.pipeline.model.name
    world.train()
    world.train("--seed", "1")
    elsewhere = world.repository.folder(name, 2).rename(tmp_path / "made elsewhere")
    registered = world.run("register", str(elsewhere))
    assert f"{name} version 2" in registered.output
    again = world.run("register", str(elsewhere)).exception
    assert "has this very version, as version 2" in str(again)
    assert world.run("load").exit_code == 0
    assert TritonServer(world.settings.triton.access).metadata(name).version == 2


def import_inverted(world: ModelWorld, folder: Path, until: str) -> None:
    """Import a version that says the opposite of the first."""
    path = world.repository.folder(world.pipeline.model.name, 1) / "model.onnx"
    inverted = onnx.compose.add_prefix(onnx.load(path), "good/", rename_inputs=False)
    inverted.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), "one"))
    inverted.graph.node.append(onnx.helper.make_node("Sub", ["one", "good/score"], ["inverted"]))
    inverted.graph.output[0].name = "inverted"
    onnx.save(inverted, folder / "bad.onnx")
    matrix = vectors(50)
    columns = {column: matrix[:, place] for place, column in enumerate(world.pipeline.model.inputs)}
    pq.write_table(pa.table({**columns, "score": 1 - score_onnx(path, matrix)}), folder / "rows.parquet")
    bad, rows = str(folder / "bad.onnx"), str(folder / "rows.parquet")
    imported = world.run("import", "--onnx", bad, "--check-rows", rows, "--trained-until", until)
    assert "50 rows scored as expected" in imported.output


def test_a_version_that_cannot_be_loaded_leaves_the_one_before_in_service(world: ModelWorld) -> None:
    name = world.pipeline.model.name
    world.train()
    world.run("load")
    world.train()
    (world.repository.folder(name, 2) / "model.onnx").write_bytes(b"garbage")
    write_hashes(world.repository.folder(name, 2))
    before = world.repository.configuration(name)
    with pytest.raises(PenstockError, match=r"cannot load version 2.*Protobuf parsing failed"):
        load_version(world.repository, TritonServer(world.settings.triton.access), name)
    assert world.repository.configuration(name) == before
    triton = TritonServer(world.settings.triton.access)
    assert triton.metadata(name).version == 1
    assert len(triton.infer(name, 1, vectors(5), 5)) == 5


def test_a_model_of_another_width_than_its_configuration_is_not_loaded(world: ModelWorld) -> None:
    name = world.pipeline.model.name
    world.train()
    folder = world.repository.folder(name, 1)
    (folder / "model.onnx").write_bytes((folder / "baseline.onnx").read_bytes())
    write_hashes(folder)
    with pytest.raises(PenstockError, match=r"model.onnx of version 1 takes 1 inputs, config.pbtxt says \[3\]"):
        load_version(world.repository, TritonServer(world.settings.triton.access), name)


def test_a_backend_that_the_server_lacks_is_refused_with_the_servers_message(world: ModelWorld) -> None:
    name = world.pipeline.model.name
    world.train()
    world.run("load")
    with pytest.raises(PenstockError, match="unable to find backend library for backend 'onnxruntime'"):
        load_version(world.repository, TritonServer(world.settings.triton.access), name, backend="onnxruntime")
    serving = world.repository.serving_config(name)
    assert serving is not None
    assert serving.backend == "python"
    assert len(TritonServer(world.settings.triton.access).infer(name, 1, vectors(5), 5)) == 5


def test_loading_from_a_folder_that_triton_does_not_serve_is_explained(world: ModelWorld, tmp_path: Path) -> None:
    name = world.pipeline.model.name
    world.train()
    elsewhere = ModelRepository(tmp_path / "elsewhere")
    (elsewhere.root).mkdir()
    (world.repository.root / name).rename(elsewhere.root / name)
    with pytest.raises(PenstockError) as caught:
        load_version(elsewhere, TritonServer(world.settings.triton.access), name)
    assert "PENSTOCK_MODEL_REPOSITORY must be the folder that Triton serves" in str(caught.value)


def test_a_model_that_was_never_trained_cannot_be_loaded(world: ModelWorld) -> None:
    result = world.run("load")
    assert isinstance(result.exception, PenstockError)
    assert "has no version yet" in str(result.exception)


def test_an_unreachable_triton_is_a_clear_error_and_changes_nothing(world: ModelWorld) -> None:
    world.train()
    before = world.repository.configuration(world.pipeline.model.name)
    nowhere = TritonServer(TritonAccess(url="127.0.0.1:1"))
    with pytest.raises(ModelServerUnavailable, match=r"Triton does not answer: StatusCode\.UNAVAILABLE") as caught:
        load_version(world.repository, nowhere, world.pipeline.model.name)
    assert "penstock up" in str(caught.value)
    assert world.repository.configuration(world.pipeline.model.name) == before


def test_an_incomplete_backfill_is_refused_with_the_command_that_continues_it(world: ModelWorld) -> None:
    manifest = world.backfill.manifest
    manifest.state = "running"
    manifest.save(world.backfill.folder)
    result = world.train()
    assert isinstance(result.exception, PenstockError)
    assert "not complete" in str(result.exception)
    assert f"penstock backfill run {world.pipeline.name}" in str(result.exception)


def test_too_few_labels_by_then_is_a_clear_error_and_writes_no_version(world: ModelWorld) -> None:
    result = world.train("--until", "1970-01-01T00:00:00.110")
    assert isinstance(result.exception, PenstockError)
    assert "too few labels" in str(result.exception)
    assert world.repository.versions(world.pipeline.model.name) == []


def test_a_limit_that_is_not_a_time_is_refused(world: ModelWorld) -> None:
    result = world.train("--until", "yesterday")
    assert result.exit_code == 2
    assert "neither epoch milliseconds nor ISO 8601" in result.output
