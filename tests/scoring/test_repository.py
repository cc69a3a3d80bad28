import json
import stat
import threading
from dataclasses import replace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from penstock.errors import PenstockError
from scoring.hosted_model import Probe
from scoring.repository import ModelRepository
from scoring.serving_config import ServingConfig, config_text
from scoring.trained_model import HostedVersion, ImportManifest, ModelManifest, TrainedModel, Validation
from tests.scoring.fake_hosted import HOSTED

INPUTS = ("event.amount", "card.sum_1h", "card.count_24h")


def trained(
    inputs=INPUTS, content=b"an onnx file", baseline: bytes | None = b"a baseline", checkpoint: bytes | None = None
) -> TrainedModel:
    manifest = ModelManifest(
        inputs=inputs,
        baseline_inputs=("event.amount",),
        views={"card": "1:abcd"},
        seed=7,
        data_hash="00ff",
        until_ms=1_000,
        rows=100,
        positives=10,
        iterations=20,
        read={"features_read": 120},
        validation=Validation(from_ms=800, rows=20, positives=2, auc=0.9, auc_without_windows=0.7),
        libraries={"onnx": "1"},
    )
    return TrainedModel(content, baseline, manifest, checkpoint=checkpoint)


@pytest.fixture
def repository(tmp_path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def config(repository: ModelRepository, model="fraud"):
    return text_format.Parse(repository.configuration(model), model_config_pb2.ModelConfig())


def test_versions_count_up_and_contain_all_their_files(repository):
    assert [repository.add("fraud", trained()) for _ in range(3)] == [1, 2, 3]
    assert repository.versions("fraud") == [1, 2, 3]
    folder = repository.folder("fraud", 2)
    written = {"model.onnx", "baseline.onnx", "model.py", "manifest.json", "hashes.json"}
    assert {path.name for path in folder.iterdir()} == written
    assert (folder / "model.onnx").read_bytes() == b"an onnx file"
    assert "class TritonPythonModel" in (folder / "model.py").read_text()


def test_the_manifest_names_model_and_version(repository):
    repository.add("fraud", trained())
    content = json.loads((repository.folder("fraud", 1) / "manifest.json").read_text())
    assert (content["model"], content["version"], content["data_hash"]) == ("fraud", 1, "00ff")
    assert repository.manifest("fraud", 1) == trained().manifest


def test_a_model_without_baseline_has_no_baseline_file(repository):
    repository.add("fraud", trained(baseline=None))
    assert not (repository.folder("fraud", 1) / "baseline.onnx").exists()


def test_a_server_of_another_user_can_read_what_is_written(repository):
    repository.add("fraud", trained())
    assert stat.S_IMODE(repository.folder("fraud", 1).stat().st_mode) == 0o755


def test_the_number_of_a_removed_version_is_not_reused(repository):
    for _ in range(3):
        repository.add("fraud", trained())
    for path in repository.folder("fraud", 2).iterdir():
        path.unlink()
    (repository.root / "fraud" / "2").rmdir()
    assert repository.add("fraud", trained()) == 4


def test_concurrent_trainings_get_different_versions(repository):
    results = []

    def add():
        results.append(repository.add("fraud", trained()))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(1, 9))
    for version in results:
        content = json.loads((repository.folder("fraud", version) / "manifest.json").read_text())
        assert content["version"] == version


def test_a_failed_write_leaves_no_files(repository, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scoring.repository.Path.write_bytes", no_space)
    with pytest.raises(OSError, match="No space left"):
        repository.add("fraud", trained())
    assert list((repository.root / "fraud").iterdir()) == []


def test_a_partial_folder_of_a_killed_training_is_not_a_version(repository):
    (repository.root / "fraud" / ".partial-abc").mkdir(parents=True)
    assert repository.versions("fraud") == []
    assert repository.add("fraud", trained()) == 1


def test_the_first_version_is_configured_at_once(repository):
    repository.add("fraud", trained())
    assert repository.serving_config("fraud") == ServingConfig(1, None, INPUTS, "python")


def test_a_later_version_is_not_configured_until_requested(repository):
    repository.add("fraud", trained())
    before = repository.configuration("fraud")
    repository.add("fraud", trained())
    assert repository.configuration("fraud") == before


def test_the_configuration_is_what_triton_expects(repository):
    repository.add("fraud", trained())
    written = config(repository)
    assert (written.name, written.backend, written.max_batch_size) == ("fraud", "python", 4096)
    assert [(t.name, t.data_type, list(t.dims)) for t in written.input] == [
        ("features", model_config_pb2.TYPE_FP32, [3])
    ]
    assert [(t.name, t.data_type, list(t.dims)) for t in written.output] == [("score", model_config_pb2.TYPE_FP32, [1])]
    assert written.dynamic_batching.max_queue_delay_microseconds == 200
    assert [(g.kind, g.count) for g in written.instance_group] == [(model_config_pb2.ModelInstanceGroup.KIND_CPU, 1)]
    assert list(written.version_policy.specific.versions) == [1]
    assert tuple(json.loads(written.parameters["feature_names"].string_value)) == INPUTS
    assert written.parameters["model_version"].string_value == "1"
    assert json.loads(written.parameters["views"].string_value) == {"card": "1:abcd"}


def test_the_gpu_backend_has_the_same_tensors():
    serving = ServingConfig(1, None, INPUTS, "python")
    python, gpu = (
        text_format.Parse(config_text("fraud", s, trained().manifest), model_config_pb2.ModelConfig())
        for s in (serving, replace(serving, backend="onnxruntime"))
    )
    assert gpu.backend == "onnxruntime"
    assert gpu.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert (gpu.input, gpu.output, gpu.max_batch_size) == (python.input, python.output, python.max_batch_size)


def test_fil_gets_the_checkpoint_under_its_own_names(repository):
    repository.add("fraud", trained(checkpoint=b"trees"))
    assert (repository.folder("fraud", 1) / "checkpoint.tl").read_bytes() == b"trees"
    assert repository.configure("fraud", 1, "fil") == ServingConfig(1, None, INPUTS, "fil")
    assert repository.serving_config("fraud") == ServingConfig(1, None, INPUTS, "fil")
    written = config(repository)
    assert (written.backend, written.max_batch_size) == ("fil", 4096)
    assert [(t.name, t.data_type, list(t.dims)) for t in (*written.input, *written.output)] == [
        ("input__0", model_config_pb2.TYPE_FP32, [3]),
        ("output__0", model_config_pb2.TYPE_FP32, [1]),
    ]
    assert written.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_AUTO
    named = {name: written.parameters[name].string_value for name in ("model_type", "output_class", "is_classifier")}
    assert named == {"model_type": "treelite_checkpoint", "output_class": "false", "is_classifier": "false"}
    assert tuple(json.loads(written.parameters["feature_names"].string_value)) == INPUTS


def test_a_version_without_a_checkpoint_is_refused_for_fil_with_the_reason(repository):
    network = trained()
    network = replace(network, manifest=network.manifest.model_copy(update={"no_fil": "it is a network"}))
    repository.add("fraud", network)
    before = repository.configuration("fraud")
    with pytest.raises(PenstockError, match="FIL cannot run version 1 of model fraud: it is a network"):
        repository.configure("fraud", 1, "fil")
    assert repository.configuration("fraud") == before


def test_a_previous_version_without_a_checkpoint_is_not_served_by_fil(repository):
    repository.add("fraud", trained())
    repository.add("fraud", trained(checkpoint=b"trees"))
    assert repository.configure("fraud", 2, "fil").versions == (2,)
    assert repository.configure("fraud", 2, "python").versions == (2,)


def test_the_backend_is_unchanged_until_another_one_is_chosen(repository):
    for _ in range(2):
        repository.add("fraud", trained())
    repository.configure("fraud", 1, "onnxruntime")
    assert repository.configure("fraud", 2).backend == "onnxruntime"
    assert repository.configure("fraud", 2, "python").backend == "python"


def test_the_previous_version_is_served_beside_the_current_one(repository):
    for _ in range(3):
        repository.add("fraud", trained())
    assert repository.configure("fraud", 2).versions == (1, 2)
    assert repository.configure("fraud", 3).versions == (2, 3)
    assert list(config(repository).version_policy.specific.versions) == [2, 3]


def test_configuring_the_current_version_again_changes_nothing(repository):
    for _ in range(2):
        repository.add("fraud", trained())
    repository.configure("fraud", 2)
    before = repository.configuration("fraud")
    repository.configure("fraud", 2)
    assert repository.configuration("fraud") == before


def test_going_back_to_an_older_version_retires_the_newer_one(repository):
    for _ in range(3):
        repository.add("fraud", trained())
    repository.configure("fraud", 2)
    repository.configure("fraud", 3)
    assert repository.configure("fraud", 1).versions == (1,)


def test_versions_of_a_rollout_policy_stay_until_another_policy_comes(repository):
    for _ in range(6):
        repository.add("fraud", trained())
    repository.configure("fraud", 2)
    assert repository.configure("fraud", 3, rollout=(4, 5)).versions == (2, 3, 4, 5)
    assert repository.configure("fraud", 6).versions == (3, 4, 5, 6)
    assert repository.configure("fraud", 1).versions == (1, 3, 4, 5)
    assert repository.serving_config("fraud") == ServingConfig(1, None, INPUTS, "python", (3, 4, 5))
    assert repository.configure("fraud", 1, rollout=()).versions == (1,)


def test_a_candidate_of_a_rollout_is_not_the_previous_version(repository):
    for _ in range(4):
        repository.add("fraud", trained())
    repository.configure("fraud", 2, rollout=(3,))
    assert repository.configure("fraud", 4).previous == 2


def test_a_rollout_that_goes_back_keeps_the_newer_version_that_was_current(repository):
    for _ in range(3):
        repository.add("fraud", trained())
    repository.configure("fraud", 3)
    serving = repository.configure("fraud", 2, rollout=())
    assert (serving.previous, serving.versions) == (3, (2, 3))


def test_a_backend_that_cannot_run_a_version_of_a_rollout_is_refused(repository):
    repository.add("fraud", trained())
    repository.add("fraud", hosted())
    repository.configure("fraud", 1, rollout=(2,))
    with pytest.raises(PenstockError, match="version 2 of model fraud calls a model in Triton"):
        repository.configure("fraud", 1, "onnxruntime")


def test_a_configuration_of_an_earlier_build_has_a_previous_version_and_none_of_a_rollout(repository):
    for _ in range(2):
        repository.add("fraud", trained())
    repository.configure("fraud", 2)
    earlier = config(repository)
    for name in ("previous_version", "rollout_versions"):
        del earlier.parameters[name]
    repository.restore("fraud", text_format.MessageToString(earlier))
    assert repository.serving_config("fraud") == ServingConfig(2, 1, INPUTS, "python")


def test_changed_inputs_are_refused_with_the_difference_and_a_remedy(repository):
    repository.add("fraud", trained())
    with pytest.raises(PenstockError) as caught:
        repository.add("fraud", trained(inputs=("event.amount", "card.sum_1h", "card.sum_7d")))
    assert "-card.count_24h, +card.sum_7d" in str(caught.value)
    assert 'Model(name="fraud_2")' in str(caught.value)
    assert repository.versions("fraud") == [1]


def test_inputs_in_another_order_are_refused(repository):
    repository.add("fraud", trained())
    with pytest.raises(PenstockError, match="the same in another order"):
        repository.add("fraud", trained(inputs=INPUTS[::-1]))


def test_a_version_that_does_not_exist_is_a_clear_error(repository):
    repository.add("fraud", trained())
    with pytest.raises(PenstockError, match=r"no version 9 \(there are: 1\)"):
        repository.configure("fraud", 9)


def test_a_model_that_was_never_trained_is_a_clear_error(repository):
    with pytest.raises(PenstockError, match="has no version yet") as caught:
        repository.newest("fraud")
    assert caught.value.next == "penstock model train PIPELINE --backfill FOLDER"


def test_a_configuration_that_penstock_did_not_write_is_not_overwritten(repository):
    repository.add("fraud", trained())
    path = repository.root / "fraud" / "config.pbtxt"
    path.write_text("no protobuf at all {")
    with pytest.raises(PenstockError, match="not written by Penstock"):
        repository.configure("fraud", 1)
    assert path.read_text() == "no protobuf at all {"


def test_restoring_no_configuration_removes_it(repository):
    repository.add("fraud", trained())
    repository.restore("fraud", None)
    assert repository.configuration("fraud") is None


def hosted(inputs=INPUTS) -> HostedVersion:
    about = {"file": "risk", "sha256": "", "producer": "", "output": "y", "column": 0, "nulls": {}}
    checked = {"check_rows": 1, "check_sha256": "", "difference": 0.0}
    manifest = ImportManifest(inputs=inputs, views={}, libraries={}, hosted=HOSTED, **about, **checked)
    return HostedVersion(manifest, Probe(vectors=((1.0, None, 2.0),), scores=(0.5,)), lambda vectors: vectors[:, 0])


def test_a_version_that_calls_a_hosted_model_has_its_mapping_in_place_of_a_file(repository):
    repository.add("fraud", trained())
    assert repository.add("fraud", hosted()) == 2
    folder = repository.folder("fraud", 2)
    names = {"hosted.json", "hosted_tensors.py", "model.py", "manifest.json", "hashes.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert "hosted_tensors" in (folder / "model.py").read_text()
    assert (repository.hosted("fraud", 1), repository.hosted("fraud", 2)) == (None, HOSTED)
    assert repository.manifest("fraud", 2) == hosted().manifest


@pytest.mark.parametrize("backend", ["onnxruntime", "fil"])
def test_it_is_run_by_the_python_backend_alone(repository, backend):
    repository.add("fraud", trained())
    repository.add("fraud", hosted())
    with pytest.raises(PenstockError, match="by the Python backend alone"):
        repository.configure("fraud", 2, backend)
    assert repository.serving_config("fraud").version == 1
    assert repository.configure("fraud", 2).versions == (1, 2)


def test_another_backend_leaves_it_behind(repository):
    repository.add("fraud", hosted())
    repository.add("fraud", trained())
    assert repository.configure("fraud", 2, "onnxruntime").versions == (2,)
    assert repository.configure("fraud", 2, "python").versions == (2,)
