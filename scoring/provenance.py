"""Who made a version, when, with what: its provenance, and the lock of the environment that it was made in."""

from __future__ import annotations

import hashlib
from importlib.metadata import distributions, version

from scoring.trained_model import Provenance

ENVIRONMENT_FILE = "environment.txt"
"""The lock, beside a version's manifest: ``name==version`` of every installed distribution, a line each."""


def installed() -> str:
    """The lock of this process's environment."""
    found = {f"{one.metadata['Name'].lower().replace('_', '-')}=={one.version}" for one in distributions()}
    return "".join(f"{line}\n" for line in sorted(found))


def provenance(made_ms: int, environment: str, author: str | None, incident: str | None) -> Provenance:
    """The provenance of a version that this Penstock makes.

    Args:
        made_ms: The time, in epoch ms.
        environment: The lock of the environment.
        author: Who makes it, as they wish to be named.
        incident: The drift incident that it answers.
    """
    return Provenance(
        made_ms=made_ms,
        author=author,
        penstock=version("penstock"),
        environment=hashlib.sha256(environment.encode()).hexdigest(),
        incident=incident,
    )
