"""Whether a run was started with the settings of this process. Their values are compared, and never shown or kept."""

from __future__ import annotations

import os
from collections.abc import Mapping

from penstock.processes import Identity, environment_of
from penstock.settings import CONFIG_FILE, all_settings


def changed_settings(supervisor: Identity) -> list[str]:
    """The variables that are settings and that a run's supervisor was started with otherwise than this process.

    None if the supervisor has ended. Files that variables name are read anew by each part, so they are not compared.
    """
    started_with = environment_of(supervisor)
    return [] if started_with is None else differing(started_with, os.environ)


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The variables that are settings and differ between two environments.

    >>> differing({"PENSTOCK_PII_KEY": "a", "HOME": "/a"}, {"penstock_pii_key": "b", "HOME": "/b"})
    ['PENSTOCK_PII_KEY']
    """
    names = [CONFIG_FILE, *(setting.variable for setting in all_settings().values())]
    # Settings are read whatever the case of their variables.
    upper = [{name.upper(): value for name, value in of.items()} for of in (before, now)]
    return sorted(name for name in names if upper[0].get(name) != upper[1].get(name))
