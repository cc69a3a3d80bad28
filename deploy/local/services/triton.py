"""Triton Inference Server on CPU: the real tritonserver out of the nvidia-pytriton wheel, with its Python backend."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx

from deploy.local.services.service import HOST, Layout, Program, Service, StopPhase, wheel_version
from penstock.errors import PenstockError
from penstock.paths import SETUP_COMMAND, site_packages, venv_python


def prepare(layout: Layout) -> None:
    """Creates the model repository, and copies the Python backend with the stub of our Python version."""
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


def command(layout: Layout) -> list[str]:
    """The server; at each start it loads the models in the repository."""
    ports = layout.ports
    return [
        str(_wheel() / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={layout.models}",
        f"--backend-directory={layout.data('triton') / 'backends'}",
        "--model-control-mode=explicit",
        # With explicit control, a process that died would come back with no model loaded.
        "--load-model=*",
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--http-address={HOST}",
        f"--http-port={ports['triton_http']}",
        f"--grpc-address={HOST}",
        f"--grpc-port={ports['triton_grpc']}",
        f"--metrics-address={HOST}",
        f"--metrics-port={ports['triton_metrics']}",
        f"--backend-config=python,shm-region-prefix-name={_shm_prefix(layout)}",
        "--exit-timeout-secs=5",
    ]


def environment(_: Layout) -> Mapping[str, str]:
    """The wheel's libraries, and the interpreter that runs the models' Python."""
    python = venv_python("triton")
    return {
        "LD_LIBRARY_PATH": f"{_wheel() / 'nvidia_pytriton.libs'}:{_libpython_folder(python)}",
        "PATH": f"{python.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def _shm_prefix(layout: Layout) -> str:
    return f"penstock_{layout.id}_"


def _remove_shared_memory(layout: Layout) -> None:
    """Removes the shared memory of Python models that a killed server has left behind."""
    for path in Path("/dev/shm").glob(f"{_shm_prefix(layout)}*"):  # noqa: S108 - Triton's, by our own prefix
        path.unlink(missing_ok=True)


def _ready(layout: Layout) -> str:
    base = f"http://{HOST}:{layout.ports['triton_http']}/v2"
    httpx.get(f"{base}/health/ready", timeout=2, trust_env=False).raise_for_status()
    return str(httpx.get(base, timeout=2, trust_env=False).raise_for_status().json()["version"])


def _wheel() -> Path:
    folder = site_packages("triton")
    if folder is None or not (folder / "pytriton").exists():
        raise PenstockError("the environment of Triton is missing", next=SETUP_COMMAND)
    return folder


def _libpython_folder(python: Path) -> str:
    """The folder of libpython*.so: the backend's stub embeds the interpreter."""
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()


def _client_environment(layout: Layout) -> Mapping[str, str]:
    ports = layout.ports
    return {
        "PENSTOCK_TRITON_GRPC": f"{HOST}:{ports['triton_grpc']}",
        "PENSTOCK_TRITON_HTTP": f"http://{HOST}:{ports['triton_http']}",
        "PENSTOCK_TRITON_METRICS": f"http://{HOST}:{ports['triton_metrics']}/metrics",
        "PENSTOCK_MODEL_REPOSITORY": str(layout.models),
    }


TRITON = Service(
    name="triton",
    ports={"triton_http": 18000, "triton_grpc": 18001, "triton_metrics": 18002},
    programs=(Program("triton", command, _ready, StopPhase.WRITERS, environment),),
    prepare=prepare,
    address=lambda ports: f"Triton :{ports['triton_grpc']} (gRPC)",
    client_environment=_client_environment,
    metrics=("triton_metrics",),
    versions={"nvidia-pytriton": lambda: wheel_version("nvidia_pytriton", "triton")},
    clean_up=_remove_shared_memory,
)
