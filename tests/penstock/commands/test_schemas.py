from __future__ import annotations

import json
import runpy
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from penstock import EVENT_ID, EVENT_TIME
from penstock.commands.schemas import constraint_text, json_schema, notes_text, schemas
from penstock.errors import PenstockError
from schemas.contract import ContractField, contract_fields
from schemas.documents import document_of
from streams.definitions.loading import pipeline_file
from tests.schemas.samples import SAMPLE_EVENT, Basket, Foreign, Sample, contract_of

CASES = Path(__file__).parents[2] / "schemas" / "decode_cases.json"
FOREIGN, LISTS = (json.loads(CASES.read_text(encoding="utf-8"))[name] for name in ("foreign", "lists"))
PIPELINE = '''
from typing import Annotated
from pydantic import Field
from penstock import ENTITY, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count

class Visit(Contract, name="visit", version=1):
    """A page was seen."""
    at: Annotated[int, EVENT_TIME]
    user: Annotated[str, ENTITY, Field(max_length=20, description="who came")]

user = Entity(name="user", key="user")
pipeline = Pipeline(
    name="visits",
    source=Source(topic="events.visit", contract=Visit),
    entities=(user,),
    views=(View(name="seen", version=1, entity=user, aggregates=(count(over="WINDOW"),)),),
    model=Model(name="m", inputs=("seen.count_WINDOW",), threshold=0.5, positive="y", negative="n"),
)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one known pipeline that every command loads again, as a new process would."""
    (tmp_path / "visits").mkdir()
    monkeypatch.setenv("PENSTOCK_PIPELINES", str(tmp_path))
    monkeypatch.setattr("penstock.commands.schemas.known_pipelines", lambda: ["visits"])
    for module in ("penstock.commands.schemas", "streams.plan.project"):
        monkeypatch.setattr(
            f"{module}.load_pipeline", lambda name: runpy.run_path(str(pipeline_file(name)))["pipeline"]
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def define(folder: Path, window: str = "1h") -> None:
    file = folder / "visits" / "pipeline.py"
    file.write_text(PIPELINE.replace("WINDOW", window))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(schemas, arguments)


def test_a_check_fails_until_the_schemas_are_exported(folder: Path) -> None:
    define(folder)
    before = run("check")
    assert before.exit_code == 3
    assert "penstock schemas export visits" in before.output
    assert run("export", "visits").exit_code == 0
    after = run("check")
    assert after.exit_code == 0
    assert after.output.startswith("visits: contracts and views are as committed\n")


def test_a_check_names_the_field_of_a_view_that_changed(folder: Path) -> None:
    define(folder)
    run("export", "visits")
    define(folder, window="2h")
    result = run("check", "visits")
    assert result.exit_code == 3
    assert "view.aggregates[count].windows[1h].size: was 3600000, is 7200000" in result.output
    assert "give View(name='seen') version=2" in result.output


def test_an_export_refuses_a_changed_view_and_writes_nothing(folder: Path) -> None:
    define(folder)
    run("export", "visits")
    define(folder, window="2h")
    result = run("export", "visits")
    assert isinstance(result.exception, PenstockError)
    assert result.exception.safe == "no file was written"


def test_an_export_lists_the_files_that_it_wrote(folder: Path) -> None:
    define(folder)
    assert "wrote visits/schemas/avro/visit/v1.avsc" in run("export", "visits").output


@pytest.mark.parametrize("reference", ["visit", "visits"])
def test_a_contract_is_found_by_its_name_or_its_pipeline(folder: Path, reference: str) -> None:
    define(folder)
    assert json.loads(run("show", reference, "--avro").output)["name"] == "visit"


def test_a_table_shows_type_constraints_and_roles(folder: Path) -> None:
    define(folder)
    output = run("show", "visit").output
    assert "0 to 20 characters" in output
    assert "entity; who came" in output


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (ContractField(name="t", type="long", roles=(EVENT_TIME,)), ">= 946684800000 (2000-01-01)"),
        (ContractField(name="t", type="long", roles=(EVENT_TIME,), minimum=0), ">= 0"),
        (ContractField(name="x", type="string", roles=(EVENT_ID,)), "at least 1 character"),
        (ContractField(name="x", type="string", roles=(EVENT_ID,), max_length=9), "1 to 9 characters"),
        (ContractField(name="x", type="string", min_length=3), "at least 3 characters"),
        (ContractField(name="x", type="string", min_length=3, max_length=3), "3 to 3 characters"),
        (ContractField(name="x", type="string", max_length=0), "0 to 0 characters"),
        (ContractField(name="x", type="string", required=False, default=""), 'default ""'),
        (ContractField(name="x", type="string", enum=("", "a")), 'one of "", a'),
        (ContractField(name="x", type="double", minimum=0, minimum_exclusive=True, maximum=5), "> 0, <= 5"),
        (ContractField(name="x", type="string", enum=("a", "b"), otherwise="b"), "one of a, b, any other text is b"),
    ],
)
def test_a_table_shows_every_rule_of_a_field(field: ContractField, text: str) -> None:
    assert constraint_text(field) == text


def test_a_json_schema_allows_no_empty_event_id_whatever_its_least_length() -> None:
    contract = contract_of(ContractField(name="id", type="string", roles=(EVENT_ID,), min_length=0))
    assert json_schema(contract)["properties"]["id"]["minLength"] == 1


def test_the_error_for_an_unknown_contract_lists_the_known_ones(folder: Path) -> None:
    define(folder)
    result = run("show", "nope")
    assert isinstance(result.exception, PenstockError)
    assert result.exception.where == "contracts: visit; pipelines: visits"


def test_json_schema_accepts_what_the_contract_accepts() -> None:
    schema = json_schema(Sample)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(SAMPLE_EVENT, schema)
    jsonschema.validate({**SAMPLE_EVENT, "items": None, "new": 1}, schema)


def test_json_schema_of_lists_takes_the_arrays_that_readers_take_and_refuses_others() -> None:
    schema = json_schema(Basket)
    jsonschema.Draft202012Validator.check_schema(schema)
    judged = 0
    for case in (case for case in LISTS["cases"] if "text" in case and case.get("reason") != "penstock.Undecodable"):
        event = json.loads(case["text"])
        # JSON Schema says nothing of columns' rules, and does not know that an object may be null.
        if "reason" not in case and "object is null" not in case["name"]:
            jsonschema.validate(event, schema)
            judged += 1
        elif (
            case.get("says", "").endswith(("elements", "array", "objects in every element")) or "bound" in case["name"]
        ):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(event, schema)
            judged += 1
    assert judged > 30


def test_json_schema_of_nested_and_converted_fields_is_that_of_the_written_event() -> None:
    schema = json_schema(Foreign)
    jsonschema.Draft202012Validator.check_schema(schema)
    written = document_of(FOREIGN["event"], contract_fields(Foreign))
    jsonschema.validate(written, schema)
    for change in ({"payload": {"card": {"number": "4111"}}}, {"position": "3"}, {"meta": None}, {"in_s": "1"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(written | change, schema)


def test_a_table_says_where_and_how_others_write_a_field() -> None:
    field = ContractField(name="x", type="string", at=("a", "b"), written="decimal", scale=2, precision=9)
    assert notes_text(field) == "at a.b; written as decimal(9, 2)"
    assert notes_text(ContractField(name="x", type="long", written="iso8601")) == "written as iso8601"
    (sku,) = (field for field in contract_fields(Basket) if field.name == "skus")
    (width,) = (field for field in contract_fields(Basket) if field.name == "widths")
    assert (notes_text(sku), constraint_text(sku)) == ("at order.items[].sku", "at most 100 elements")
    assert constraint_text(width) == "each > 0, at most 100 elements, elements without a value are left out, optional"


@pytest.mark.parametrize(
    "change",
    [
        {"event_time": 2**63},
        {"event_time": "1"},
        {"amount": -1},
        {"amount": 1000},
        {"items": 0},
        {"channel": "shop"},
        {"country": "fr"},
        {"event_id": ""},
        {"flag": None},
        {"event_time": 1_700_000_000},
    ],
)
def test_json_schema_refuses_what_the_contract_refuses(change: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**SAMPLE_EVENT, **change}, json_schema(Sample))
