from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock import ENTITY, EVENT_ID, Entity, Labels, Model, Pipeline, Source, View, count, sum_
from penstock.errors import PenstockError
from schemas import committed
from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder
from schemas.committed import Problem, record_schemas, writer_schemas
from schemas.contract import Contract, ContractField
from streams.plan.compiler import compile_plan
from streams.plan.feature_records import features_schema
from streams.plan.pipeline_forms import pipeline_forms
from tests.schemas.samples import contract_of

ID = ContractField(name="id", type="string", roles=(EVENT_ID,))
CARD = ContractField(name="card", type="string", roles=(ENTITY,))
AMOUNT = ContractField(name="amount", type="double", minimum=0)


def payment(*fields: ContractField, **options: Any) -> type[Contract]:
    return contract_of(ID, CARD, *(fields or (AMOUNT,)), **{"name": "payment", **options})


def pipeline_of(
    contract: type[Contract], windows: tuple[str, ...] = ("1h", "24h"), version: int = 1, labels: Labels | None = None
) -> Pipeline:
    card = Entity(name="card", key="card")
    view = View(
        name="spend",
        version=version,
        entity=card,
        aggregates=(count(over=windows), sum_("amount", over=windows)),
    )
    return Pipeline(
        name="pay",
        source=Source(topic="events.pay", contract=contract, key="card"),
        entities=(card,),
        views=(view,),
        model=Model(name="m", inputs=("event.amount",), threshold=0.5, positive="yes", negative="no"),
        labels=labels,
    )


def export(pipeline: Pipeline, root: Path) -> list[Path]:
    return committed.export(pipeline_forms(pipeline, compile_plan(pipeline)), root)


def problems(pipeline: Pipeline, root: Path) -> list[Problem]:
    return committed.problems(pipeline_forms(pipeline, compile_plan(pipeline)), root)


def require_unchanged(pipeline: Pipeline, root: Path) -> None:
    committed.require_unchanged(pipeline_forms(pipeline, compile_plan(pipeline)), root)


def test_after_an_export_there_are_no_problems(tmp_path: Path) -> None:
    pipeline = pipeline_of(payment())
    export(pipeline, tmp_path)
    assert problems(pipeline, tmp_path) == []
    assert export(pipeline, tmp_path) == []


def test_an_export_writes_contracts_views_and_the_features_record(tmp_path: Path) -> None:
    labels = contract_of(ID, ContractField(name="fraud", type="boolean"), name="pay_label")
    pipeline = pipeline_of(payment(), labels=Labels(topic="labels.pay", contract=labels, value="fraud"))
    written = [file.relative_to(tmp_path) for file in export(pipeline, tmp_path)]
    assert [str(file) for file in written if file.parts[0] != "records"] == [
        "avro/payment/v1.avsc",
        "avro/pay_label/v1.avsc",
        "views/pay/spend@1.json",
    ]
    assert [str(file.parent) for file in written if file.parts[0] == "records"] == ["records/features.pay"]


def test_an_uncommitted_schema_is_missing_and_the_problem_names_the_export_command(tmp_path: Path) -> None:
    found = problems(pipeline_of(payment()), tmp_path)
    assert {problem.kind for problem in found} == {"missing"}
    assert {problem.next for problem in found} == {"penstock schemas export pay"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ((AMOUNT.model_copy(update={"minimum": 1}),), "amount: minimum was 0, is 1"),
        ((AMOUNT.model_copy(update={"minimum": -1}),), "amount: minimum was 0, is -1"),
        ((AMOUNT.model_copy(update={"type": "long"}),), "amount: type was 'double', is 'long'"),
        ((AMOUNT.model_copy(update={"at": ("a", "b")}),), "amount: at was None, is ['a', 'b']"),
        ((AMOUNT, ContractField(name="extra", type="long", required=False, default=0)), "extra: added"),
        ((AMOUNT.model_copy(update={"required": False, "default": 1.0}),), "amount: required was True, is False"),
    ],
)
def test_a_contract_that_changed_under_its_version_is_refused_by_field(
    tmp_path: Path, changed: tuple[ContractField, ...], says: str
) -> None:
    export(pipeline_of(payment()), tmp_path)
    found = problems(pipeline_of(payment(*changed)), tmp_path)
    assert f"contract payment v1 is committed and has changed: {says}" in [problem.what for problem in found]
    assert "version=2" in next(problem.next for problem in found if problem.kind == "changed")


def test_the_order_of_fields_is_part_of_a_version(tmp_path: Path) -> None:
    extra = ContractField(name="extra", type="long")
    export(pipeline_of(payment(AMOUNT, extra)), tmp_path)
    found = problems(pipeline_of(payment(extra, AMOUNT)), tmp_path)
    assert "amount: moved" in found[0].what


def test_a_new_description_is_no_new_version_and_is_exported(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    described = pipeline_of(payment(AMOUNT.model_copy(update={"description": "in euros"})))
    assert [problem.kind for problem in problems(described, tmp_path)] == ["stale"]
    assert [file.name for file in export(described, tmp_path)] == ["v1.avsc"]
    assert problems(described, tmp_path) == []


def test_a_compatible_new_version_is_exported(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    note = ContractField(name="note", type="string", nullable=True, required=False)
    export(pipeline_of(payment(AMOUNT, note, version=2)), tmp_path)
    assert sorted(file.name for file in (tmp_path / "avro" / "payment").iterdir()) == ["v1.avsc", "v2.avsc"]


NOTE = ContractField(name="note", type="long", nullable=True, required=False)


def with_note(*fields: ContractField, contract: int = 2) -> Pipeline:
    return pipeline_of(payment(AMOUNT, *fields, version=contract, compatibility="NONE"))


def test_an_optional_field_can_be_added_under_the_same_version_of_a_view(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    assert {problem.kind for problem in problems(with_note(NOTE), tmp_path)} == {"missing", "stale"}
    export(with_note(NOTE), tmp_path)
    assert problems(with_note(NOTE), tmp_path) == []
    assert json.loads((tmp_path / "views/pay/spend@1.json").read_text())["optional"] == {"note of events.pay": "long"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ((NOTE.model_copy(update={"type": "double"}),), "optional field note of events.pay was long, is double"),
        ((), "optional field note of events.pay is gone"),
    ],
)
def test_an_optional_field_of_another_type_or_removed_needs_a_new_version_of_the_view(
    tmp_path: Path, fields: tuple[ContractField, ...], says: str
) -> None:
    export(with_note(NOTE), tmp_path)
    changed = [p for p in problems(with_note(*fields, contract=3), tmp_path) if p.kind == "changed"]
    assert [p.what for p in changed] == [f"view spend@1 is committed and has changed: {says}"]
    with pytest.raises(PenstockError, match="spend@1 is committed"):
        require_unchanged(with_note(*fields, contract=3), tmp_path)


def test_views_committed_without_their_optional_fields_get_them_by_an_export(tmp_path: Path) -> None:
    export(with_note(NOTE), tmp_path)
    file = tmp_path / "views/pay/spend@1.json"
    content = json.loads(file.read_text())
    del content["optional"]
    file.write_text(json.dumps(content))
    assert [p.kind for p in problems(with_note(NOTE), tmp_path)] == ["stale"]
    export(with_note(NOTE), tmp_path)
    assert problems(with_note(NOTE), tmp_path) == []


def test_a_new_version_that_breaks_an_old_one_is_refused_by_field(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    tighter = pipeline_of(payment(AMOUNT.model_copy(update={"minimum": 1}), version=2))
    found = [problem for problem in problems(tighter, tmp_path) if problem.kind == "breaking"]
    assert [problem.what for problem in found] == [
        "contract payment v2 breaks v1 (BACKWARD): amount: readers require >= 1, writers may write less"
    ]
    with pytest.raises(PenstockError, match="payment v2 breaks v1"):
        export(tighter, tmp_path)
    assert not (tmp_path / "avro" / "payment" / "v2.avsc").exists()


def test_a_new_version_is_checked_against_every_older_one(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    without = pipeline_of(payment(AMOUNT, version=2, compatibility="NONE"))
    export(without, tmp_path)
    third = pipeline_of(payment(AMOUNT.model_copy(update={"minimum": 1}), version=3))
    assert [p.what.partition(" (")[0] for p in problems(third, tmp_path) if p.kind == "breaking"] == [
        "contract payment v3 breaks v1",
        "contract payment v3 breaks v2",
    ]


def test_compatibility_none_allows_breaks_of_the_contract_and_asks_for_a_new_version_of_the_views(
    tmp_path: Path,
) -> None:
    export(pipeline_of(payment()), tmp_path)
    tighter = payment(AMOUNT.model_copy(update={"minimum": 1}), version=2, compatibility="NONE")
    found = problems(pipeline_of(tighter), tmp_path)
    assert {problem.kind for problem in found} == {"missing", "changed"}
    assert all("source.fields.amount" in problem.what for problem in found if problem.kind == "changed")


def test_a_view_that_changed_under_its_version_is_refused_with_the_edit_that_makes_a_new_one(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    changed = pipeline_of(payment(), windows=("2h", "24h"))
    found = [problem for problem in problems(changed, tmp_path) if problem.kind == "changed"]
    assert found[0].what == (
        "view spend@1 is committed and has changed: view.aggregates[count].windows[1h].size: was 3600000, is 7200000"
    )
    assert found[0].next == "give View(name='spend') version=2, then penstock schemas export pay"


def test_an_added_window_is_reported_with_the_lists_of_windows(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    more = pipeline_of(payment(), windows=("1h", "24h", "7d"))
    whats = [problem.what for problem in problems(more, tmp_path) if problem.kind == "changed"]
    assert whats[0].endswith("view.aggregates[count].windows: was [1h, 24h], is [1h, 24h, 7d]")


def test_a_new_version_of_a_view_is_exported_beside_the_old(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    export(pipeline_of(payment(), windows=("1h", "7d"), version=2), tmp_path)
    assert sorted(file.name for file in (tmp_path / "views" / "pay").iterdir()) == ["spend@1.json", "spend@2.json"]


def test_require_unchanged_allows_uncommitted_versions_but_not_changed_ones(tmp_path: Path) -> None:
    pipeline = pipeline_of(payment())
    require_unchanged(pipeline, tmp_path)
    export(pipeline, tmp_path)
    with pytest.raises(PenstockError, match="spend@1 is committed and has changed"):
        require_unchanged(pipeline_of(payment(), windows=("1h", "7d")), tmp_path)


def test_events_of_every_committed_version_can_be_read(tmp_path: Path) -> None:
    first = payment()
    export(pipeline_of(first), tmp_path)
    note = ContractField(name="note", type="string", nullable=True, required=False)
    second = payment(AMOUNT, note, version=2)
    event = {"t": 0, "id": "a", "card": "c", "amount": 1.0}
    decoder = Decoder(*writer_schemas(second, tmp_path))
    assert decoder.decode(Encoder(contract_schema(first)).encode(event)) == event
    assert decoder.decode(Encoder(contract_schema(second)).encode(event)) == {**event, "note": None}


def test_features_of_earlier_views_can_still_be_read(tmp_path: Path) -> None:
    old = pipeline_of(payment())
    export(old, tmp_path)
    new = pipeline_of(payment(), windows=("1h", "7d"), version=2)
    schemas = record_schemas(new.features_topic, features_schema(compile_plan(new)), tmp_path)
    assert [json.dumps(s) for s in schemas] == [json.dumps(features_schema(compile_plan(p))) for p in (old, new)]


def test_a_committed_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    export(pipeline_of(payment()), tmp_path)
    (tmp_path / "avro" / "payment" / "v1.avsc").write_text("<<<<<<< HEAD")
    with pytest.raises(PenstockError) as error:
        problems(pipeline_of(payment()), tmp_path)
    assert error.value.where == str(tmp_path / "avro" / "payment" / "v1.avsc")
