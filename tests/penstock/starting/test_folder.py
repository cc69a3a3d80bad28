"""The folder that is written is a project that works at once."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.playing.event_order import EventOrder
from penstock.playing.playing import check_rows
from penstock.playing.target import target_of
from penstock.starting.folder import require_free
from penstock.starting.samples import sample_of_file, sample_of_schema
from schemas.contract import Pii, contract_fields
from streams.definitions.loading import load_pipeline
from tests.penstock.starting.examples import ORDERS, SCHEMAS, WRITERS, project


@pytest.mark.parametrize("kind", WRITERS)
def test_a_project_of_each_format_has_good_code_a_test_that_passes_and_its_schemas(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, name = tmp_path / f"orders.{kind}", f"shop_of_{kind}"
    WRITERS[kind](file)
    written = project(sample_of_schema(file) if kind in SCHEMAS else sample_of_file(file, 1_000), name, tmp_path)
    assert written.refused == ()
    assert written.folder == tmp_path / name
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"orders.{kind}", name]
    for command in (("check", "--select", "E4,E7,E9,F,I"), ("format", "--check")):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--isolated", name], check=True, cwd=tmp_path)
    checked = CliRunner().invoke(cli, ["schemas", "check", str(written.folder / "pipeline.py")])
    assert checked.exit_code == 0, checked.output
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(f"{name}.test_features")
    for test in (test for test in dir(module) if test.startswith("test_")):
        getattr(module, test)()
    if kind not in SCHEMAS:
        target = target_of(load_pipeline(str(written.folder / "pipeline.py")), None, name)
        with EventOrder() as order:
            assert check_rows(file, target, order, 1) == ([], 0), "penstock play takes the file"
            assert order.count == len(ORDERS)


def test_what_is_personal_is_protected_and_in_none_of_the_files(tmp_path: Path) -> None:
    WRITERS["jsonl"](tmp_path / "orders.jsonl")
    written = project(sample_of_file(tmp_path / "orders.jsonl", 1_000), "shop_personal", tmp_path)
    contract = load_pipeline(str(written.folder / "pipeline.py")).source.contract
    found = {field.path: field.pii for field in contract_fields(contract) if field.pii}
    assert found == {"customer.e-mail": Pii.HASH, "customer.first_name": Pii.DROP, "cart[].for": Pii.HASH}
    text = "".join(file.read_text() for file in written.folder.rglob("*") if file.is_file())
    assert "person1@example.org" in text, "the documentation's own"
    assert not any(order["first_name"] in text for order in ORDERS[1:])
    assert '"customer_first_name": "names-' in text


def test_a_row_that_does_not_fit_is_told_without_its_values(tmp_path: Path) -> None:
    WRITERS["jsonl"](tmp_path / "orders.jsonl")
    text = (tmp_path / "orders.jsonl").read_text().replace('"amount": 3.5', '"amount": NaN')
    (tmp_path / "orders.jsonl").write_text(text)
    written = project(sample_of_file(tmp_path / "orders.jsonl", 1_000), "shop_nan", tmp_path)
    (refused,) = written.refused
    assert refused.startswith("line 4: field amount: ")


@pytest.mark.parametrize("name", ["Shop", "a-b", "../x", "json", "penstock"])
def test_a_name_that_a_project_cannot_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PenstockError) as refused:
        require_free(name, tmp_path)
    assert refused.value.safe == "nothing was written"


def test_what_is_there_already_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pipeline.py").write_text("x")
    with pytest.raises(PenstockError, match="something of this name"):
        require_free("mine", tmp_path)


def test_nothing_is_left_of_a_project_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    WRITERS["csv"](tmp_path / "orders.csv")
    sample = sample_of_file(tmp_path / "orders.csv", 1_000)
    monkeypatch.setattr("schemas.committed.export", full)
    with pytest.raises(PenstockError, match="No space left"):
        project(sample, "shop_full", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]
