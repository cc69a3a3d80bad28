"""``penstock init``: infers a contract, and writes the folder of a project."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from penstock.commands.errors import warn
from penstock.commands.options import json_option
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.starting.folder import require_free, write_project
from penstock.starting.personal import Treatment
from penstock.starting.roles import Answers, Question, decide
from penstock.starting.samples import (
    Sample,
    sample_of_file,
    sample_of_schema,
    sample_of_subject,
    sample_of_topic,
    strays_note,
    unreadable_note,
)
from penstock.starting.summary import as_object, inferred
from penstock.starting.texts import decisions, next_commands
from penstock.starting.times import TimeForm

_TREATMENTS = get_args(Treatment)


class _Personal(click.ParamType):
    name = "COLUMN=hash|drop|keep"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Treatment]:
        column, _, treatment = value.rpartition("=")
        if not column or treatment not in _TREATMENTS:
            self.fail(f"{value!r} is not a column, = and one of {', '.join(_TREATMENTS)}", param, ctx)
        return column, treatment


@click.command("init")
@click.argument("name")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Events in a file: .jsonl, .csv, .parquet or .avro.",
)
@click.option("--topic", help="A topic whose newest records are looked at.")
@click.option(
    "--schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The schema of events: Avro (.avsc), JSON Schema (.json) or a compiled Protobuf file (.pb).",
)
@click.option("--subject", help="A subject of the schema registry, such as events.orders-value.")
@click.option("--message", metavar="NAME", help="The message of events, if a Protobuf schema has several.")
@click.option("--event-time", metavar="COLUMN", help="The column with the time at which an event happened.")
@click.option("--time-unit", type=click.Choice(get_args(TimeForm)), help="In which unit it is written.")
@click.option("--event-id", metavar="COLUMN", help="The column with the id of an event; none: there is none.")
@click.option("--entity", "entities", metavar="COLUMN", multiple=True, help="A column whose events features count.")
@click.option("--personal", type=_Personal(), multiple=True, help="What is done to a column with personal data.")
@click.option(
    "--sample", type=click.IntRange(min=1), default=100_000, show_default=True, help="Look at so many rows at most."
)
@click.option("--yes", is_flag=True, help="Ask nothing: take what is safe, and say so.")
@json_option
def init(
    name: str,
    file: Path | None,
    topic: str | None,
    schema: Path | None,
    subject: str | None,
    message: str | None,
    sample: int,
    *,
    yes: bool,
    as_json: bool,
    **answers: Any,
) -> None:
    """Write a project NAME for events of your own: contract, first views, schemas, a test, a README.

    What columns are for is inferred from a file, a topic, a schema or a subject of the registry. What is not
    certain is asked on a terminal; otherwise, and with --json, options answer it, or --yes takes what is safe.
    """
    if sum(given is not None for given in (file, topic, schema, subject)) != 1:
        raise click.UsageError("give one of --file, --topic, --schema and --subject")
    require_free(name, Path.cwd())
    found = _sample(file, topic, schema, subject, message, sample, answers["event_time"])
    settling = _Settling(yes=yes, is_terminal=not as_json and sys.stdin.isatty() and sys.stdout.isatty())
    draft = decide(found.findings, name, _answers(answers), settling.settle)
    facts = inferred(draft, found) if as_json else {}
    if as_json and settling.is_open:
        click.echo(
            json.dumps(as_object(name, facts, settling.asked, (), (), (), found.unreadable, found.strays), indent=2)
        )
    settling.require_answers()
    of_topic = topic or (subject.removesuffix("-value") if subject else f"events.{name}")
    typed = shlex.join(["penstock", *sys.argv[1:]])
    written = write_project(draft, found, name, of_topic, Path.cwd(), typed)
    following = next_commands(draft, name, str(file) if file else None)
    if as_json:
        files = sorted(str(one.relative_to(Path.cwd())) for one in written.folder.rglob("*") if one.is_file())
        refused = written.refused, found.unreadable, found.strays
        content = as_object(name, facts, settling.asked, files, following, *refused)
        click.echo(json.dumps(content, indent=2))
        return
    for line in decisions(draft):
        click.echo(f"  {line}")
    for text in settling.taken:
        click.echo(f"  taken without asking: {text}")
    for note in filter(None, (unreadable_note(found), strays_note(found))):
        warn(note, "correct what writes it")
    if written.refused:
        warn(
            f"{len(written.refused):,} of {counted(written.checked, 'row')} compared do not fit the contract: "
            f"{written.refused[0]}",
            f"edit the contract in {name}/pipeline.py, or what writes such events",
        )
    click.echo(f"wrote {name}/: pipeline.py, test_features.py, schemas/, README.md. Next:")
    for command in following:
        click.echo(f"  {command}")


def _sample(
    file: Path | None,
    topic: str | None,
    schema: Path | None,
    subject: str | None,
    message: str | None,
    most: int,
    time: str | None,
) -> Sample:
    if file is not None:
        return sample_of_file(file, most, time)
    if schema is not None:
        return sample_of_schema(schema, message)
    settings = Settings()
    if topic is not None:
        return sample_of_topic(topic, settings.kafka.access, settings.schema_registry_url, most, time)
    assert subject is not None
    return sample_of_subject(subject, settings.schema_registry_url, message)


def _answers(given: dict[str, Any]) -> Answers:
    return Answers(
        time=given["event_time"],
        unit=given["time_unit"],
        id=given["event_id"],
        entities=given["entities"],
        personal=dict(given["personal"]),
    )


class _Settling:
    """Settles questions: by asking, or by what is safe; without a terminal and without --yes it collects them."""

    def __init__(
        self,
        *,
        yes: bool,
        is_terminal: bool,
        ask: Callable[..., str] = click.prompt,
    ) -> None:
        self.asked: list[tuple[Question, str | None]] = []
        """Each question with its answer; None while nobody has answered."""
        self._yes, self._is_terminal, self._ask = yes, is_terminal, ask

    @property
    def taken(self) -> list[str]:
        """What was taken without asking."""
        return [f"{question.column or question.about}: {answer}" for question, answer in self.asked if self._yes]

    @property
    def is_open(self) -> bool:
        """Whether a question has no answer."""
        return any(answer is None for _, answer in self.asked)

    def settle(self, question: Question) -> str:
        answer = self._answer(question)
        self.asked.append((question, answer))
        return question.safe if answer is None else answer

    def _answer(self, question: Question) -> str | None:
        if self._yes:
            return question.safe
        if not self._is_terminal:
            return None
        if question.about == "entities":
            listed = ", ".join(question.options)
            return self._ask(
                f"{question.text} ({listed})", default=question.safe, value_proc=lambda text: _of(question, text)
            )
        return self._ask(question.text, default=question.safe, type=click.Choice(question.options))

    def require_answers(self) -> None:
        """Check that nothing is open.

        Raises:
            PenstockError: if something is; it has the options that answer it.
        """
        left = [question for question, answer in self.asked if answer is None]
        if not left:
            return
        asked = "\n         ".join(f"{one.text} [{', '.join(one.options)}]: {one.option}" for one in left)
        raise PenstockError(
            f"{counted(len(left), 'question')} to answer",
            where=asked,
            safe="nothing was written",
            next="the same command with these options, on a terminal, or with --yes, which takes what is safe",
        )


def _of(question: Question, text: str) -> str:
    wrong = [one for one in text.split(",") if one.strip() not in question.options]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is none of {', '.join(question.options)}")
    return text
