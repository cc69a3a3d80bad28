"""The group ``penstock model``; each command is imported when it is used."""

from __future__ import annotations

from penstock.commands.lazy import Entry, LazyGroup

_MAKING, _SERVING = "penstock.commands.model.making", "penstock.commands.model.serving"

model = LazyGroup(
    "model",
    entries={
        "train": Entry(f"{_MAKING}:train_command", "Train on a backfill and its labels: the next version."),
        "import": Entry(f"{_MAKING}:import_command", "Import a model that was trained elsewhere as the next version."),
        "check": Entry("penstock.commands.model.check:check", "Judge a version by the gates."),
        "load": Entry(f"{_SERVING}:load", "Make a version the current one; the previous one stays loaded."),
        "unload": Entry(f"{_SERVING}:unload", "Stop serving the model; its versions stay."),
        "status": Entry(f"{_SERVING}:status", "Show all versions and their state on the model server."),
    },
    help="Train, import or check a pipeline's model, load it into Triton, show its versions.",
)
