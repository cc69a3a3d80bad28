"""``penstock new-view``: adds a view to a pipeline's file, or prints its code."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import click

from penstock.commands.errors import pipeline_argument
from penstock.commands.options import DurationType, json_option
from penstock.errors import PenstockError
from penstock.paths import as_typed
from penstock.starting.code import view_code
from penstock.starting.new_view import NewView, with_view
from streams.definitions.loading import load_pipeline, pipeline_file
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import duration_text
from streams.plan.project import open_project


@click.command("new-view")
@pipeline_argument
@click.option("--entity", metavar="ENTITY", help="The entity of the view.  [default: the only one]")
@click.option("--name", help="Its name.  [default: ENTITY_view]")
@click.option("--mean", "means", metavar="COLUMN", multiple=True, help="A column of which it has means.")
@click.option(
    "--over", "windows", type=DurationType(), multiple=True, default=("1h", "1d"), show_default=True, help="A window."
)
@click.option("--print", "is_print", is_flag=True, help="Print the view's code, and write nothing.")
@click.option("--yes", is_flag=True, help="Write without asking.")
@json_option
def new_view(
    pipeline: str,
    entity: str | None,
    name: str | None,
    means: tuple[str, ...],
    windows: tuple[int, ...],
    *,
    is_print: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Add a view to the file of PIPELINE: counts and means of an entity's events, and the time since the previous one.

    The change is shown, and compiled with the rest of the pipeline before it is written. The model's inputs stay
    as they are: a new version of the model takes the new features once you name them. With --json nothing is asked:
    give --yes or --print.
    """
    definition = load_pipeline(pipeline)
    of = _entity(definition, entity)
    view = NewView(_name(definition, of, name), of, _means(definition, means), tuple(dict.fromkeys(windows)))
    code = view_code(view.name, view.entity, view.means, sorted(view.over_ms))
    file = pipeline_file(pipeline)
    if is_print:
        click.echo(_as_json(definition, view, code, file, "", ()) if as_json else code)
        return
    before = file.read_bytes()
    after = with_view(before.decode("utf-8-sig"), view, as_typed(file)).encode()
    diff = "".join(
        difflib.unified_diff(
            before.decode().splitlines(keepends=True),
            after.decode().splitlines(keepends=True),
            as_typed(file),
            "with the view",
        )
    )
    if not as_json:
        click.echo(diff, nl=False)
    _require_compiles(file, after, view.name)
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise PenstockError(
                "nobody is asked with --json whether to write this"
                if as_json
                else "there is no terminal on which to ask whether to write this",
                where=as_typed(file),
                safe="it was not changed",
                next="the same command with --yes; or with --print, which prints the code alone",
            )
        click.confirm("Write it?", abort=True)
    _replace(file, before, after)
    named = shlex.quote(pipeline)
    following = (f"penstock schemas export {named}", f"penstock job upgrade {named} --empty  # if its job runs")
    if as_json:
        click.echo(_as_json(definition, view, code, file, diff, following))
        return
    click.echo(f"{as_typed(file)} has the view {view.name}. Next:")
    for command in following:
        click.echo(f"  {command}")
    click.echo(f"The model's inputs are unchanged: for its next version, add *{view.name}.inputs() to them.")


def _as_json(definition: Pipeline, view: NewView, code: str, file: Path, diff: str, following: tuple[str, ...]) -> str:
    content = {
        "pipeline": definition.name,
        "view": view.name,
        "entity": view.entity,
        "means": list(view.means),
        "over": [duration_text(ms) for ms in sorted(view.over_ms)],
        "code": code,
        "diff": diff,
        "files": [as_typed(file)] if diff else [],
        "next": list(following),
    }
    return json.dumps(content, indent=2)


def _entity(definition: Pipeline, given: str | None) -> str:
    names = [entity.name for entity in definition.entities]
    if given in names:
        return given
    if given is None and len(names) == 1:
        return names[0]
    raise PenstockError(
        f"pipeline {definition.name} has no entity {given}" if given else "which entity's events shall the view count?",
        where=f"entities: {', '.join(names)}",
        safe="nothing was changed",
        next=f"the same command with --entity {names[0]}",
    )


def _name(definition: Pipeline, entity: str, given: str | None) -> str:
    taken = {view.name for view in definition.views}
    if given is None:
        numbered = (f"{entity}_view_{number}" for number in range(2, len(taken) + 3))
        return next(name for name in (f"{entity}_view", *numbered) if name not in taken)
    if given in taken:
        raise PenstockError(
            f"pipeline {definition.name} has a view {given} already",
            safe="nothing was changed",
            next="give another --name; a view changes by a new version of it, in the file",
        )
    return given


def _means(definition: Pipeline, given: tuple[str, ...]) -> tuple[str, ...]:
    numbers = [name for name, kind in definition.column_types().items() if kind in ("long", "double")]
    if wrong := next((name for name in given if name not in numbers), None):
        raise PenstockError(
            f"{wrong} is no column of numbers",
            where=f"columns of numbers: {', '.join(numbers) or 'none'}",
            safe="nothing was changed",
            next="name one of them with --mean",
        )
    return tuple(dict.fromkeys(given))


def _require_compiles(file: Path, code: bytes, view: str) -> None:
    """Load a copy beside the file, which finds the same modules, with all that a command would check.

    Raises:
        PenstockError: if it is no pipeline; the file is as it was.
    """
    try:
        handle, name = tempfile.mkstemp(".py", "penstock_new_view_", file.parent)
    except OSError as error:
        what = f"no copy can be written beside the file, to check it: {error}"
        raise PenstockError(what, where=as_typed(file), safe="it was not changed") from error
    copy = Path(name)
    try:
        with os.fdopen(handle, "wb") as written:
            written.write(code)
        open_project(str(copy)).pipeline.view(view)
    except (PenstockError, OSError) as error:
        what = error.what if isinstance(error, PenstockError) else str(error)
        raise PenstockError(
            f"with the view it would be no pipeline: {what}",
            where=as_typed(file),
            safe="it was not changed",
            next="the same command with --print, and add the view by hand",
        ) from error
    finally:
        copy.unlink(missing_ok=True)
        for compiled in (file.parent / "__pycache__").glob(f"{copy.stem}.*"):
            compiled.unlink(missing_ok=True)


def _replace(file: Path, before: bytes, after: bytes) -> None:
    """Write the file, all at once, unless somebody else has changed it meanwhile."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        if file.read_bytes() != before:
            raise PenstockError(
                "the file has changed meanwhile",
                where=as_typed(file),
                safe="it was not touched",
                next="the same command",
            )
        partial.write_bytes(after)
        shutil.copymode(file, partial)
        partial.replace(file)
    except OSError as error:
        raise PenstockError(
            f"the file cannot be written: {error}", where=as_typed(file), safe="it is as it was"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
