"""What Triton serves of a model, and its configuration in Triton's form. Pure: it reads and writes no file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from scoring.model_metadata import FIL_INPUT, FIL_OUTPUT, INPUT, OUTPUT
from scoring.trained_model import Manifest

Backend = Literal["python", "onnxruntime", "fil"]

MAX_BATCH_SIZE = 4096
_QUEUE_DELAY_US = 200
# A request gives its own deadline, up to this; when that is over, nobody waits for the scores any more.
_LONGEST_WAIT_US = 10_000_000
# A scorer has one request under way for each of its models. Beyond so many, those at the end would come too late.
_MOST_WAITING = 128


@dataclass(frozen=True)
class ServingConfig:
    """A model's configuration.

    ``version`` is the current one, ``previous`` the one before it that is still served, and ``rollout`` are the
    versions that a rollout policy needs, ascending: they are served until another policy comes.
    """

    version: int
    previous: int | None
    inputs: tuple[str, ...]
    backend: Backend
    rollout: tuple[int, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions served, ascending."""
        previous = () if self.previous is None else (self.previous,)
        return tuple(sorted({self.version, *previous, *self.rollout}))


def config_text(model: str, serving: ServingConfig, manifest: Manifest) -> str:
    """Triton's configuration of a model, in protobuf's text form.

    ``python`` runs the ONNX file on the CPU through ``model.py``, ``onnxruntime`` is Triton's own backend, on a GPU.
    ``fil`` runs the trees on a GPU, or on the CPU of a server without one; its tensors have names of its own.
    """
    is_fil = serving.backend == "fil"
    config: Any = model_config_pb2.ModelConfig(name=model, backend=serving.backend, max_batch_size=MAX_BATCH_SIZE)
    config.input.add(
        name=FIL_INPUT if is_fil else INPUT, data_type=model_config_pb2.TYPE_FP32, dims=[len(serving.inputs)]
    )
    config.output.add(
        name=FIL_OUTPUT if is_fil else OUTPUT, data_type=model_config_pb2.TYPE_FP32, dims=[1 + len(manifest.kept)]
    )
    config.dynamic_batching.max_queue_delay_microseconds = _QUEUE_DELAY_US
    queue = config.dynamic_batching.default_queue_policy
    queue.timeout_action = model_config_pb2.ModelQueuePolicy.REJECT
    queue.default_timeout_microseconds = _LONGEST_WAIT_US
    queue.allow_timeout_override = True
    queue.max_queue_size = _MOST_WAITING
    group = model_config_pb2.ModelInstanceGroup
    kinds = {"python": group.KIND_CPU, "onnxruntime": group.KIND_GPU, "fil": group.KIND_AUTO}
    config.instance_group.add(kind=kinds[serving.backend], count=1)
    config.version_policy.specific.versions.extend(serving.versions)
    if is_fil:
        # The checkpoint gives one number for each row, so it is no classifier to FIL. Until Triton 25.08 that is
        # output_class, since then is_classifier.
        fil = {"model_type": "treelite_checkpoint", "output_class": "false", "is_classifier": "false"}
        for name, value in fil.items():
            config.parameters[name].string_value = value
    config.parameters["feature_names"].string_value = json.dumps(serving.inputs)
    config.parameters["categories"].string_value = json.dumps(manifest.categories)
    config.parameters["kept_outputs"].string_value = json.dumps(manifest.kept)
    config.parameters["model_version"].string_value = str(serving.version)
    config.parameters["previous_version"].string_value = json.dumps(serving.previous)
    config.parameters["rollout_versions"].string_value = json.dumps(serving.rollout)
    config.parameters["views"].string_value = json.dumps(dict(manifest.views), sort_keys=True)
    text: str = text_format.MessageToString(config)
    return text


def read_config(text: str) -> ServingConfig:
    """Read what :func:`config_text` wrote.

    Raises:
        ValueError: if it was not written by it.
    """
    try:
        config: Any = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error
    parameters = {name: parameter.string_value for name, parameter in config.parameters.items()}
    try:
        version = int(parameters["model_version"])
        if "previous_version" in parameters:
            previous, rollout = json.loads(parameters["previous_version"]), json.loads(parameters["rollout_versions"])
        else:  # of an earlier build
            previous, rollout = next((v for v in config.version_policy.specific.versions if v != version), None), []
        inputs = tuple(json.loads(parameters["feature_names"]))
    except KeyError as error:
        raise ValueError(f"it has no parameter {error}") from error
    backend: Backend = config.backend if config.backend in get_args(Backend) else "python"
    return ServingConfig(version, previous, inputs, backend, tuple(rollout))
