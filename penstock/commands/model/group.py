"""The group ``penstock model``; each command is imported when it is used."""

from __future__ import annotations

from penstock.commands.lazy import Entry, LazyGroup

_MAKING, _SERVING = "penstock.commands.model.making", "penstock.commands.model.serving"

model = LazyGroup(
    "model",
    entries={
        "train": Entry(f"{_MAKING}:train_command"),
        "import": Entry(f"{_MAKING}:import_command"),
        "check": Entry("penstock.commands.model.check:check"),
        "load": Entry(f"{_SERVING}:load"),
        "unload": Entry(f"{_SERVING}:unload"),
        "status": Entry(f"{_SERVING}:status"),
    },
    help="Train, import or check a pipeline's model, load it into Triton, show its versions.",
)
