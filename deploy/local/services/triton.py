"""Triton Inference Server on CPU: the real tritonserver out of the nvidia-pytriton wheel, with its Python backend."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx

from deploy.local.services.base import HOST, Layout, Program, Service
from penstock.errors import PenstockError
from penstock.paths import site_packages, venv_python


def prepare(layout: Layout) -> None:
    """Lays out the model repository and the Python backend with the stub of our Python version."""
    layout.models.mkdir(parents=True, exist_ok=True)
    wheel = _wheel()
    version = Path(*wheel.parts[-2:-1]).name.removeprefix("python")
    source = wheel / "pytriton" / "tritonserver"
    backend = layout.data("triton") / "backends" / "python"
    if (backend / "triton_python_backend_stub").exists():
        return
    shutil.copytree(source / "backends" / "python", backend, dirs_exist_ok=True)
    stub = source / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise PenstockError(f"Triton's wheel has no backend for Python {version}", where=str(stub.parent))
    shutil.copy2(stub, backend)


def programs(layout: Layout) -> list[Program]:
    """The server, with nothing loaded but what the repository holds when it (re)starts."""
    wheel, ports = _wheel(), layout.ports
    python = venv_python("triton")
    libraries = f"{wheel / 'nvidia_pytriton.libs'}:{_libpython_folder(python)}"
    command = [
        str(wheel / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={layout.models}",
        f"--backend-directory={layout.data('triton') / 'backends'}",
        "--model-control-mode=explicit",
        # Explicit control forgets what was loaded when the process dies; the repository remembers.
        "--load-model=*",
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--http-address={HOST}",
        f"--http-port={ports.triton_http}",
        f"--grpc-address={HOST}",
        f"--grpc-port={ports.triton_grpc}",
        f"--metrics-address={HOST}",
        f"--metrics-port={ports.triton_metrics}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix(layout)}",
        "--exit-timeout-secs=5",
    ]
    environment = {
        "LD_LIBRARY_PATH": libraries,
        "PATH": f"{python.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    return [Program("triton", command, environment=environment, ready=lambda: _ready(ports.triton_http))]


def shm_prefix(layout: Layout) -> str:
    """How the shared-memory files of this stack's models are named, so that those of a killed server can be removed."""
    return f"penstock_{layout.id}_"


def _ready(port: int) -> str:
    base = f"http://{HOST}:{port}/v2"
    httpx.get(f"{base}/health/ready", timeout=2, trust_env=False).raise_for_status()
    return str(httpx.get(base, timeout=2, trust_env=False).raise_for_status().json()["version"])


def _wheel() -> Path:
    folder = site_packages("triton")
    if folder is None or not (folder / "pytriton").exists():
        raise PenstockError("the environment of Triton is missing", next="make setup")
    return folder


def _libpython_folder(python: Path) -> str:
    """Where libpython*.so lies: the backend's stub embeds the interpreter."""
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


def environment(layout: Layout) -> dict[str, str]:
    """Where clients find it, and its model repository."""
    ports = layout.ports
    return {
        "PENSTOCK_TRITON_GRPC": f"{HOST}:{ports.triton_grpc}",
        "PENSTOCK_TRITON_HTTP": f"http://{HOST}:{ports.triton_http}",
        "PENSTOCK_TRITON_METRICS": f"http://{HOST}:{ports.triton_metrics}/metrics",
        "PENSTOCK_MODEL_REPOSITORY": str(layout.models),
    }


TRITON = Service(
    "triton",
    "Triton",
    ("triton_http", "triton_grpc", "triton_metrics"),
    prepare,
    programs,
    {"triton": 0},
    environment,
)
