"""The commands and options of ``penstock sink``, which stores declare."""

from __future__ import annotations

from typing import Annotated, Any

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field

from penstock.cli import cli
from penstock.commands.sink import run_command
from sinks.store_interface import EnvironmentVariable, StoreOptions, StoreType
from sinks.store_registry import find_stores
from streams.definitions.windows import Duration, duration_ms


class FileOptions(StoreOptions):
    """One option of each type."""

    max_age: Duration = Field(duration_ms("90d"), description="Delete older files.")
    files: int = Field(3, ge=1, description="Most files.")
    folder: str = Field("out", description="Where they lie.")
    tags: Annotated[dict[str, str], EnvironmentVariable("PENSTOCK_TEST_TAGS")] = Field({}, description="JSON.")


def parse(*arguments: str, **environment: str) -> FileOptions:
    """The options that the store is created with by these arguments of `penstock sink run files fraud`."""
    created: list[FileOptions] = []

    def create(project: Any, settings: Any, options: FileOptions) -> Any:
        created.append(options)
        raise click.ClickException("created")

    files = StoreType("files", "Keep vectors in files.", FileOptions, lambda _: (), create)
    CliRunner(env=environment).invoke(run_command(files), ["fraud", *arguments], standalone_mode=False)
    (options,) = created
    return options


def penstock(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sink", *arguments], terminal_width=200)


def test_the_defaults_of_the_options_model_are_those_of_the_command() -> None:
    assert parse() == FileOptions()


def test_each_field_of_the_options_model_is_an_option() -> None:
    options = parse("--max-age", "2h", "--files", "7", "--folder", "elsewhere", "--tags", '{"a": "b"}')
    assert options == FileOptions(max_age=7_200_000, files=7, folder="elsewhere", tags={"a": "b"})


def test_an_annotated_field_is_set_by_its_environment_variable() -> None:
    assert parse(PENSTOCK_TEST_TAGS='{"a": "b"}').tags == {"a": "b"}


@pytest.mark.parametrize("store", find_stores())
def test_every_store_can_be_run_and_rewound(store: str) -> None:
    assert find_stores()[store].summary in penstock("run", store, "--help").output
    assert store in penstock("rewind", "--help").output


def test_durations_are_shown_with_units() -> None:
    shown = penstock("run", "cassandra", "--help").output
    assert "--history-ttl DURATION" in shown
    assert "[default: 90d]" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("redis", "--grace", "7"), "'--grace': '7' is not a duration"),
        (("cassandra", "--replication", "{"), "'--replication': not JSON: "),
        (("cassandra", "--replication", "7"), "'--replication': a JSON object with a class, as Cassandra has it"),
    ],
)
def test_a_value_that_the_model_refuses_is_a_usage_error_that_names_the_option(
    arguments: tuple[str, ...], message: str
) -> None:
    done = penstock("run", arguments[0], "fraud", *arguments[1:])
    assert done.exit_code == 2
    assert message in done.output
