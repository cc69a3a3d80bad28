"""The versions of the servers of the local stack, read from what set-up installed."""

from __future__ import annotations

import re
import shutil
import subprocess

from deploy.local.services import SERVICES


def server_versions() -> dict[str, str]:
    """Name and version of every server, of the wheels that bring servers, and of Java; without those not installed."""
    readers = {name: read for service in SERVICES.values() for name, read in service.versions.items()}
    found = {name: read() for name, read in {**readers, "java": _java_version}.items()}
    return {name: version for name, version in found.items() if version is not None}


def _java_version() -> str | None:
    if shutil.which("java") is None:
        return None
    done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\S+)"', done.stdout + done.stderr)
    return match[1] if match else None
