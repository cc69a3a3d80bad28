"""`penstock new-view` shows the change, and writes only what is a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli
from penstock.commands.starting import new_view as module
from penstock.errors import PenstockError
from penstock.starting.samples import sample_of_file
from streams.definitions.loading import load_pipeline
from tests.penstock.starting.examples import project, write_csv


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_csv(tmp_path / "orders.csv")
    return project(sample_of_file(tmp_path / "orders.csv", 100), "shop_views", tmp_path).folder / "pipeline.py"


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["new-view", str(file), "--entity", "customer", *arguments])


def test_a_view_is_shown_checked_and_written(file: Path, tmp_path: Path) -> None:
    result = run(file, "--mean", "amount", "--over", "2h", "--yes")
    assert result.exit_code == 0, result.output
    assert "+customer_view = View(" in result.output
    assert "add *customer_view.inputs() to them" in result.output
    copy = tmp_path / "again.py"
    copy.write_text(file.read_text())
    assert load_pipeline(str(copy)).view("customer_view").feature_names() == (
        "count_2h",
        "amount_mean_2h",
        "time_since_previous_2h",
    )
    assert sorted(path.name for path in file.parent.iterdir() if path.name != "__pycache__") == [
        *("README.md", "__init__.py", "pipeline.py", "schemas", "test_features.py")
    ]


def test_nothing_is_written_without_a_yes_or_if_it_would_be_no_pipeline(file: Path) -> None:
    before = file.read_bytes()
    assert "there is no terminal" in str(run(file).exception)
    assert run(file, "--print").output.startswith("customer_view = View(")
    file.write_bytes(before.replace(b"views=(", b"views=(*[], "))
    only_here = b"assert 'new_view' not in __file__\n"
    broken = file.read_bytes().replace(b"pipeline = Pipeline(", only_here + b"pipeline = Pipeline(")
    file.write_bytes(broken)
    refused = run(file, "--yes").exception
    assert isinstance(refused, PenstockError)
    assert "it would be no pipeline" in refused.what
    assert file.read_bytes() == broken


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--entity", "shop"), "has no entity shop"),
        (("--mean", "order_id"), "order_id is no column of numbers"),
        (("--name", "customer_activity"), "has a view customer_activity already"),
    ],
)
def test_what_the_pipeline_does_not_have_is_refused_with_what_it_has(
    arguments: tuple[str, ...], what: str, file: Path
) -> None:
    refused = run(file, *arguments).exception
    assert isinstance(refused, PenstockError)
    assert what in refused.what


def test_a_file_that_somebody_else_has_changed_meanwhile_is_left(file: Path) -> None:
    with pytest.raises(PenstockError, match="changed meanwhile"):
        module._replace(file, b"as it was read", b"with the view")
    assert file.read_bytes() != b"with the view"


def test_json_has_the_view_and_the_change_and_asks_nothing(file: Path) -> None:
    before = file.read_text()
    assert "nobody is asked with --json" in str(run(file, "--json").exception)
    printed = json.loads(run(file, "--json", "--print").stdout)
    assert (printed["files"], printed["diff"], file.read_text()) == ([], "", before)
    result = run(file, "--json", "--yes", "--over", "2h")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert (written["view"], written["entity"], written["over"]) == ("customer_view", "customer", ["2h"])
    assert "+customer_view = View(" in written["diff"]
    assert written["code"] in file.read_text()
    assert Path(written["files"][0]).name == "pipeline.py"
