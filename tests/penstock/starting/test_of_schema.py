"""Columns come from a schema of each kind; a rule that the contract cannot have is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.starting.of_schema import findings_of_document, findings_of_file
from penstock.starting.samples import sample_of_subject
from tests.penstock.starting.examples import SCHEMA, SCHEMAS, WRITERS
from tests.schemas.fake_registry import FakeRegistry, fake_registry
from tests.schemas.imported.protobufs import compiled, file, message

TWO = file(message("A", ("at", "int64")), message("B", ("at", "int64"), ("name", "string")))


def test_rules_that_no_contract_or_test_row_can_have_are_named() -> None:
    properties = {
        "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
        "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2},
        "price": {"type": "number", "multipleOf": 0.01, "minimum": 1},
        "map": {"type": "object"},
    }
    findings = findings_of_document({"type": "object", "properties": properties}, "a.json")
    assert [(column.name, column.rules) for column in findings.columns] == [
        ("zip", {}),
        ("code", {"pattern": "^[a-z]+$", "min_length": 2}),
        ("price", {"ge": 1}),
    ]
    assert findings.notes == (
        "zip: not checked, as its schema has it: pattern ^[0-9]{5}$",
        "price: not checked, as its schema has it: multipleOf 0.01",
    )
    assert findings.left_out == {"map": "it is a map"}


@pytest.mark.parametrize(
    ("name", "content", "says", "then"),
    [
        ("a.proto", b"", "is to be compiled first", "protoc"),
        ("a.pb", b"x", "no compiled Protobuf file", "protoc"),
        ("a.pb", compiled(TWO), "several messages", "the same command with --message NAME, one of: shop.A, shop.B"),
        ("a.json", b"{", "the schema cannot be read", ""),
        ("a.json", b"[]", "not the Avro schema of a record", ""),
        ("a.json", b'{"type": "object"}', "no object with properties", ""),
    ],
)
def test_a_file_that_is_no_schema_is_refused(name: str, content: bytes, says: str, then: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PenstockError, match=says) as refused:
        findings_of_file(tmp_path / name, None)
    assert then in (refused.value.next or "")


def test_one_of_several_messages_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pb").write_bytes(compiled(TWO))
    assert [column.name for column in findings_of_file(tmp_path / "a.pb", "shop.B").columns] == ["at", "name"]


def _subject(kind: str, content: bytes) -> dict[str, Any]:
    if kind != "pb":
        return {"schemaType": {"avsc": "AVRO", "json": "JSON"}[kind], "schema": content.decode()}
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - of this kind only

    file = FileDescriptorSet.FromString(content).file[-1]
    return {"schemaType": "PROTOBUF", "schema": base64.b64encode(file.SerializeToString()).decode()}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_subject_has_the_columns_of_the_same_schema_in_a_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"orders.{kind}"
    WRITERS[kind](path)
    monkeypatch.setattr(FakeRegistry, "answer", _with_latest(FakeRegistry.answer))
    with fake_registry() as registry:
        registry.schemas.append(_subject(kind, path.read_bytes()))
        sample = sample_of_subject("orders-value", registry.url)
    assert sample.findings == findings_of_file(path, None)


def _with_latest(answer: Any) -> Any:
    def asked(self: FakeRegistry, method: str, path: str, body: dict[str, Any]) -> Any:
        return answer(self, method, path.replace("versions/latest", "versions/1"), body)

    return asked


def test_an_avro_schema_is_one_whatever_its_file_is_called(tmp_path: Path) -> None:
    (tmp_path / "orders.json").write_text(json.dumps(SCHEMA))
    assert findings_of_file(tmp_path / "orders.json", None).origin == "avro"
