"""The group ``penstock features``; each command is imported when it is used."""

from __future__ import annotations

from penstock.commands.lazy import Entry, LazyGroup

_ONLINE, _KERNEL = "penstock.commands.features.online", "penstock.commands.features.kernel_commands"

features = LazyGroup(
    "features",
    entries={
        "describe": Entry(f"{_ONLINE}:describe"),
        "get": Entry(f"{_ONLINE}:get"),
        "explain": Entry(f"{_KERNEL}:explain"),
        "plan": Entry(f"{_KERNEL}:plan"),
        "profile": Entry("penstock.commands.features.profiling:profile"),
        "test": Entry(f"{_KERNEL}:test"),
    },
    help="Describe, profile and test feature views; get or explain an entity's latest vector.",
)
