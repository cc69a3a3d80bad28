"""The versions of the servers of the local stack, read from what set-up installed."""

from __future__ import annotations

from deploy.local.services import SERVICES
from deploy.local.services.service import printed_version
from penstock.paths import java_home


def server_versions() -> dict[str, str]:
    """Name and version of every server, of the wheels that bring servers, and of Java; without those not installed."""
    readers = {name: read for service in SERVICES.values() for name, read in service.versions.items()}
    found = {name: read() for name, read in {**readers, "java": _java_version}.items()}
    return {name: version for name, version in found.items() if version is not None}


def _java_version() -> str | None:
    home = java_home()
    return None if home is None else printed_version([str(home / "bin" / "java"), "-version"], r'version "(\S+)"')
