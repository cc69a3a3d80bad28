"""The command line: lists all commands, and imports the code of a command only when it is used."""

from __future__ import annotations

import sys

import click

from penstock.commands.errors import print_error
from penstock.commands.exit_codes import ExitCode
from penstock.commands.lazy import Entry, LazyGroup
from penstock.errors import PenstockError

_STACK, _PIPELINE, _CHECK = "Local stack", "Run a pipeline", "Look and verify"

COMMANDS = {
    "demo": Entry("examples.cli:demo", "Run both example pipelines on a local stack and verify them.", _STACK),
    "setup": Entry("penstock.commands.setup:setup", "Install what the local stack needs.", _STACK),
    "up": Entry("penstock.commands.stack:up", "Start the local stack and wait until it is healthy.", _STACK),
    "down": Entry("penstock.commands.stack:down", "Stop the local stack; data stays unless --wipe.", _STACK),
    "status": Entry("penstock.commands.stack:status", "Show every program's state, pid, ports and health.", _STACK),
    "logs": Entry("penstock.commands.stack:logs", "Print the log of a program, or of a pipeline's parts.", _STACK),
    "init": Entry("penstock.commands.starting.init:init", "Begin a project with events of your own.", _PIPELINE),
    "new-view": Entry("penstock.commands.starting.new_view:new_view", "Add a view to a pipeline.", _PIPELINE),
    "run": Entry("penstock.commands.running.run:run", "Run everything of a pipeline, with a live screen.", _PIPELINE),
    "ps": Entry("penstock.commands.running.looking:ps", "Show what `penstock run` runs here.", _PIPELINE),
    "top": Entry("penstock.commands.running.looking:top", "Show the screen of a pipeline that runs.", _PIPELINE),
    "stop": Entry("penstock.commands.running.stop:stop", "Stop what `penstock run` runs, in order.", _PIPELINE),
    "play": Entry("penstock.commands.play:play_command", "Feed a file to a source of a pipeline.", _PIPELINE),
    "topics": Entry("penstock.commands.topics:topics", "Create a pipeline's topics, or show them.", _PIPELINE),
    "job": Entry("penstock.commands.job:job", "Start, stop (with a savepoint) or show a feature job.", _PIPELINE),
    "sink": Entry("penstock.commands.sink:sink", "Write features and predictions to Redis and Cassandra.", _PIPELINE),
    "archive": Entry("penstock.commands.archive:archive", "Keep topics as Parquet, longer than Kafka does.", _PIPELINE),
    "scorer": Entry("penstock.commands.scorer:scorer", "Score features through Triton, exactly once.", _PIPELINE),
    "gateway": Entry("penstock.commands.gateway:gateway", "Answer events by HTTP, within a deadline.", _PIPELINE),
    "drift": Entry("penstock.commands.drift:drift", "Watch features and scores for drift.", _PIPELINE),
    "data-quality": Entry(
        "penstock.commands.data_quality:data_quality", "Watch raw events for faults of their producers.", _PIPELINE
    ),
    "quality": Entry(
        "penstock.commands.quality:quality", "Measure predictions as their labels become final.", _PIPELINE
    ),
    "model": Entry(
        "penstock.commands.model.group:model", "Train, import, check and load a pipeline's model.", _PIPELINE
    ),
    "rollout": Entry(
        "penstock.commands.rollout.group:rollout", "Try versions on live events; go on, or back.", _PIPELINE
    ),
    "backfill": Entry(
        "penstock.commands.backfill:backfill", "Compute the features of past events; score them.", _PIPELINE
    ),
    "training-set": Entry(
        "penstock.commands.training_set:training_set", "Join past features to labels, as Parquet.", _PIPELINE
    ),
    "incidents": Entry(
        "penstock.commands.incidents:incidents", "Find why inputs, labels or quality changed.", _PIPELINE
    ),
    "retrain": Entry("penstock.commands.retrain:retrain", "Train anew where an incident proposes it.", _PIPELINE),
    "labels": Entry("penstock.commands.labels:labels", "Say how many events have a label, and how late.", _PIPELINE),
    "dlq": Entry("penstock.commands.dlq:dlq", "List, show and replay dead letters.", _PIPELINE),
    "schemas": Entry("penstock.commands.schemas:schemas", "Export contracts and check their compatibility.", _CHECK),
    "features": Entry(
        "penstock.commands.features.group:features", "Describe, profile, test and explain features.", _CHECK
    ),
    "parity": Entry("penstock.commands.parity:parity", "Compare what was served with what is recomputed.", _CHECK),
    "audit": Entry("penstock.commands.audit:audit", "Tell the story of an incident or a training.", _CHECK),
    "verify": Entry("penstock.commands.verify:verify", "Check a run against the oracle, end to end.", _CHECK),
}


# The line with \b prevents click from rewrapping the lines that follow it.
_HELP = """Penstock: streaming features and exactly-once inference.

Raw events on Kafka become windowed features in Flink, are served from Redis, kept in Cassandra, scored by Triton and
published as predictions.

\b
First steps:
  penstock setup      install what the local stack needs
  penstock up         start the local stack
  penstock init       begin a project with your own events
"""


cli = click.version_option(package_name="penstock")(
    LazyGroup(
        "penstock",
        entries=COMMANDS,
        help=_HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
)


def main() -> None:
    """Run the command line; print a PenstockError without a traceback and exit with 1."""
    try:
        cli(prog_name="penstock")
    except PenstockError as error:
        print_error(error)
        sys.exit(ExitCode.ERROR)
