"""The group ``penstock model``; each command is imported when it is used."""

from __future__ import annotations

from penstock.commands.lazy import Entry, LazyGroup

_MAKING, _SERVING = "penstock.commands.model.making", "penstock.commands.model.serving"
_CASCADE = "penstock.commands.model.cascade"
_VERSIONS, _PROMOTION = "penstock.commands.model.versions", "penstock.commands.model.promotion"

model = LazyGroup(
    "model",
    entries={
        "train": Entry(f"{_MAKING}:train_command", "Train on a backfill and its labels: the next version."),
        "import": Entry(f"{_MAKING}:import_command", "Import a model that was trained elsewhere as the next version."),
        "register": Entry(f"{_PROMOTION}:register_command", "Add a version that another repository made."),
        "rebuild": Entry(
            "penstock.commands.model.rebuilding:rebuild_command", "Make a version again, and compare it byte for byte."
        ),
        "list": Entry(f"{_VERSIONS}:list_command", "List all versions, their aliases, gates and states."),
        "show": Entry(f"{_VERSIONS}:show", "Show all that is known of a version."),
        "compare": Entry(f"{_PROMOTION}:compare", "Show two versions side by side."),
        "check": Entry("penstock.commands.model.check:check", "Judge a version by the gates."),
        "card": Entry(f"{_VERSIONS}:card_command", "Write a model card, as HTML."),
        "promote": Entry(f"{_PROMOTION}:promote", "Load a version if the gates pass."),
        "load": Entry(f"{_SERVING}:load", "Make a version the current one; the previous one stays loaded."),
        "unload": Entry(f"{_SERVING}:unload", "Stop serving the model; its versions stay."),
        "trainings": Entry(f"{_VERSIONS}:trainings", "Show every training, also those that failed."),
        "history": Entry(f"{_VERSIONS}:history", "Show what was served when, and why."),
        "band": Entry(f"{_CASCADE}:band", "Choose the scores that the strong model of a cascade decides."),
        "regret": Entry(f"{_CASCADE}:regret", "Count what a cascade decides otherwise than its strong model."),
        "mirror": Entry("penstock.commands.model.mirroring:mirror_command", "Write the registry to MLflow."),
    },
    help="""Train, import, check and promote versions of a pipeline's model; show what there is and was.

    Of a pipeline with a cascade, PIPELINE names the fast model, and PIPELINE:strong the strong one; `band` and `regret`
    are about both, and take PIPELINE.
    """,
)
