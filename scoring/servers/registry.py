"""Model servers by name. A new server is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.servers.onnx import OnnxServer
from scoring.servers.protocol import ModelServer
from scoring.servers.triton import TritonServer

ServerName = Literal["triton", "onnx"]

PRIMARY_SERVER: ServerName = "triton"
FALLBACK_SERVER: ServerName = "onnx"

_FACTORIES: Mapping[ServerName, Callable[[Settings], ModelServer]] = {
    "triton": lambda settings: TritonServer(settings.triton.access),
    "onnx": lambda settings: OnnxServer(ModelRepository(settings.model_repository)),
}


def open_server(name: ServerName, settings: Settings) -> ModelServer:
    """The model server of that name, as the settings describe it; it connects on first use."""
    return _FACTORIES[name](settings)
