"""``penstock schemas``: export contracts, check them against the committed schemas, show them."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from penstock.commands.console import console_on
from penstock.commands.errors import print_error, require_pipeline
from penstock.commands.exit_codes import ExitCode
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.paths import as_typed
from schemas import committed, history
from schemas.avro import contract_schema
from schemas.contract import Contract, ContractField, Pii, Role, contract_fields
from schemas.event_time import EARLIEST_MS
from schemas.json_schema import as_written, nest
from streams.definitions.loading import known_pipelines, load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.drift.track import TrackState
from streams.plan.project import open_project

_OWN = "Penstock's own records"


@click.group()
def schemas() -> None:
    """Export contracts and check their compatibility."""


@schemas.command()
@click.argument("pipeline", required=False)
@click.option(
    "--records", is_flag=True, help="Write the schemas of Penstock's own records, after a change of its code."
)
def export(pipeline: str | None, records: bool) -> None:
    """Write those schemas of PIPELINE that are not committed yet, into the folder `schemas` beside its file.

    A changed definition of a committed version is refused: give it a new version.
    """
    if (pipeline is None) is not records:
        raise click.UsageError("give either a pipeline or --records")
    if pipeline is None:
        written, pipeline = history.commit(own_records()), _OWN
    else:
        require_pipeline(pipeline)
        project = open_project(pipeline)
        written = committed.export(project.forms, project.schemas)
    for file in written:
        click.echo(f"wrote {as_typed(file)}")
    click.echo(
        f"{pipeline}: {counted(len(written), 'file')} written" if written else f"{pipeline}: all schemas are up to date"
    )


@schemas.command()
@click.argument("pipeline", required=False)
def check(pipeline: str | None) -> None:
    """Fail if PIPELINE differs from its committed schemas or breaks readers of old ones (default: all pipelines)."""
    if pipeline:
        require_pipeline(pipeline)
    names = [pipeline] if pipeline else known_pipelines()
    has_problems = False
    for name in names:
        project = open_project(name)
        found = committed.problems(project.forms, project.schemas)
        for problem in found:
            print_error(PenstockError(problem.what, where=as_typed(problem.file), next=problem.next))
        click.echo(
            f"{name}: {counted(len(found), 'problem')}" if found else f"{name}: contracts and views are as committed"
        )
        has_problems = has_problems or bool(found)
    if pipeline is None:
        record_problems = list(history.history_problems(own_records()))
        for problem_text in record_problems:
            print_error(
                PenstockError(problem_text, where=as_typed(history.HISTORY), next="penstock schemas export --records")
            )
        click.echo(
            f"{_OWN}: {counted(len(record_problems), 'problem')}"
            if record_problems
            else f"{_OWN}: as committed, earlier versions are readable"
        )
        has_problems = has_problems or bool(record_problems)
    if has_problems:
        sys.exit(ExitCode.CHECK_FAILED)


@schemas.command()
@click.argument("reference", metavar="CONTRACT|PIPELINE")
@click.option("--avro", "form", flag_value="avro", help="Print the Avro schema in place of a table.")
@click.option("--json", "form", flag_value="json", help="Print a JSON Schema in place of a table.")
def show(reference: str, form: str | None) -> None:
    """Show a contract, or the contract of a pipeline's source."""
    require_pipeline(reference)
    contract = _contract(reference)
    if form is None:
        _print_table(contract)
    else:
        document = contract_schema(contract) if form == "avro" else json_schema(contract)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def own_records() -> dict[str, dict[str, Any]]:
    """The current schemas of the records that Penstock publishes, other than feature records."""
    return {**history.AVRO_RECORDS, "drift_state": history.without_descriptions(TrackState.model_json_schema())}


def json_schema(contract: type[Contract]) -> dict[str, Any]:
    """The contract as JSON Schema (draft 2020-12), with the rules of events that pydantic does not have."""
    document = contract.model_json_schema()
    for field in contract_fields(contract):
        schema = document["properties"][field.name]
        if not field.is_plain:
            as_written(schema, field)
        if field.written is not None:
            continue
        if Role.EVENT_ID in field.roles:
            schema["minLength"] = max(1, field.min_length or 0)
        if Role.EVENT_TIME in field.roles and field.minimum is None:
            schema["minimum"] = EARLIEST_MS
        _bound_integers(_of_values(schema) if field.is_list else schema)
    if any(field.at for field in contract_fields(contract)):
        nest(document, contract_fields(contract))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:penstock:{contract.contract_name}:{contract.contract_version}",
        **document,
    }


def _of_values(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list's elements."""
    array = next(branch for branch in [schema, *schema.get("anyOf", ())] if branch.get("type") == "array")
    items: dict[str, Any] = array["items"]
    return items


def _bound_integers(schema: dict[str, Any]) -> None:
    for branch in [schema, *schema.get("anyOf", ())]:
        if branch.get("type") == "integer":
            if "exclusiveMinimum" not in branch:
                branch.setdefault("minimum", -(2**63))
            if "exclusiveMaximum" not in branch:
                branch.setdefault("maximum", 2**63 - 1)


def _contract(reference: str) -> type[Contract]:
    pipelines = {name: load_pipeline(name) for name in known_pipelines()}
    contracts = {c.contract_name: c for pipeline in pipelines.values() for c in pipeline.contracts}
    if reference in contracts:
        return contracts[reference]
    try:
        pipeline: Pipeline = pipelines.get(reference) or load_pipeline(reference)
    except PenstockError as error:
        raise PenstockError(
            f"there is no contract or pipeline {reference!r}",
            where=f"contracts: {', '.join(contracts) or 'none'}; pipelines: {', '.join(pipelines) or 'none'}",
            next="give one of these names, or the path of a pipeline file",
        ) from error
    return pipeline.source.contract


def _print_table(contract: type[Contract]) -> None:
    title = f"{contract.contract_name} v{contract.contract_version}, {contract.compatibility}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("field", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("must be")
    table.add_column("notes")
    for field in contract_fields(contract):
        table.add_row(
            field.name,
            field.type + ("?" if field.nullable else ""),
            escape(constraint_text(field)),
            escape(notes_text(field)),
        )
    console_on().print(table, "  ? may be null", sep="")


def notes_text(field: ContractField) -> str:
    """A field's roles, protection, place and form, and its description."""
    treatment = {Pii.HASH: "personal: hashed", Pii.DROP: "personal: dropped"}
    notes = [role.value.replace("_", " ") for role in field.roles]
    notes += [treatment[field.pii]] if field.pii else []
    notes += [f"at {field.path}"] if field.at else []
    notes += [f"written as {_form(field)}"] if field.written else []
    notes += [field.description] if field.description else []
    return "; ".join(notes)


def _form(field: ContractField) -> str:
    return f"decimal({field.precision}, {field.scale})" if field.written == "decimal" else str(field.written)


def constraint_text(field: ContractField) -> str:
    """A field's constraints in words, those of its role included: ``>= 0, optional``."""
    parts = []
    if field.minimum is not None:
        parts.append(f"{'>' if field.minimum_exclusive else '>='} {field.minimum}")
    elif Role.EVENT_TIME in field.roles:
        parts.append(f">= {EARLIEST_MS} (2000-01-01)")
    if field.maximum is not None:
        parts.append(f"{'<' if field.maximum_exclusive else '<='} {field.maximum}")
    least = max(field.min_length or 0, 1 if Role.EVENT_ID in field.roles else 0)
    if field.max_length is not None:
        parts.append(f"{least} to {field.max_length} characters")
    elif least:
        parts.append(f"at least {least} character{'s' if least > 1 else ''}")
    if field.pattern is not None:
        parts.append(f"matches {field.pattern}")
    if field.enum is not None:
        parts.append("one of " + ", ".join(value or '""' for value in field.enum))
    if field.otherwise is not None:
        parts.append(f"any other text is {field.otherwise}")
    if field.is_list:
        parts = [f"each {part}" for part in parts] + [f"at most {field.max_elements} elements"]
        parts += ["elements without a value are left out"] if field.nullable_elements else []
    if not field.required:
        parts.append(
            "optional" if field.default is None else f"default {json.dumps(field.default, ensure_ascii=False)}"
        )
    return ", ".join(parts)
