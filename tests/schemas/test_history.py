"""A release may add fields to Penstock's own records; those that earlier releases wrote stay readable."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penstock.commands.schemas import own_records
from schemas.codec import Encoder, UnknownSchema
from schemas.history import (
    AVRO_RECORDS,
    HistoryDecoder,
    commit,
    committed_schemas,
    history_problems,
    record_decoder,
)
from schemas.records import PREDICTION_SCHEMA

PREDICTION: dict[str, Any] = {
    "event_id": "1",
    "pipeline": "p",
    "event_time": 7,
    "entity": None,
    "score": 0.5,
    "decision": "no",
    "model": "m",
    "model_version": "1",
    "route": "primary",
    "policy_version": "x",
    "views": [{"view": "v@1", "entity": "a", "epoch": 1, "seq": 2, "as_of": 3}],
    "scored_at": 8,
    "attempt": 0,
    "source": {"topic": "t", "partition": 0, "offset": 4, "timestamp": 5},
    "features_topic": "f",
    "features_partition": 0,
    "features_offset": 6,
    "vector": b"",
    "outputs": [],
    "reasons": [],
    "defaulted": [],
    "cascade": None,
    "rollout": None,
}


def changed(*added: dict[str, Any], nested: tuple[dict[str, Any], ...] = (), **types: Any) -> dict[str, Any]:
    """A later prediction schema: fields added to the record or to its views, or fields of other types."""
    schema = copy.deepcopy(PREDICTION_SCHEMA)
    schema["fields"] += added
    for field in schema["fields"]:
        field["type"] = types.get(field["name"], field["type"])
        if field["name"] == "views":
            field["type"]["items"]["fields"] += nested
    return schema


CAUSES = {"name": "causes", "type": {"type": "array", "items": "string"}, "default": []}


def test_current_schemas_are_committed_and_read_the_records_of_all_earlier_releases() -> None:
    assert list(history_problems(own_records())) == []


@pytest.mark.parametrize("name", list(AVRO_RECORDS))
def test_a_decoder_knows_every_committed_schema(name: str) -> None:
    assert committed_schemas(name)
    for schema in committed_schemas(name):
        with pytest.raises(Exception, match="do not fit"):
            record_decoder(name).decode(Encoder(schema).header)


def test_a_record_of_an_earlier_release_is_resolved_to_the_current_schema() -> None:
    later = changed(CAUSES)
    decoder = HistoryDecoder(later, [PREDICTION_SCHEMA])
    assert decoder.decode(Encoder(PREDICTION_SCHEMA).encode(PREDICTION)) == PREDICTION | {"causes": []}


def test_a_current_record_is_returned_unchanged() -> None:
    later = changed(CAUSES)
    record = PREDICTION | {"causes": ["amount"]}
    assert HistoryDecoder(later, [PREDICTION_SCHEMA]).decode(Encoder(later).encode(record)) == record


def test_a_record_of_a_later_release_is_unknown() -> None:
    with pytest.raises(UnknownSchema):
        record_decoder("prediction").decode(Encoder(changed(CAUSES)).encode(PREDICTION | {"causes": []}))


@pytest.mark.parametrize(
    ("later", "problem"),
    [
        (changed({"name": "causes", "type": "string"}), "Prediction.causes was added without a default"),
        (changed(score="float"), 'Prediction.score was "double", is "float"'),
        (changed(nested=({"name": "late", "type": "boolean"},)), "ViewRef.late was added without a default"),
    ],
)
def test_a_change_that_leaves_earlier_records_unreadable_is_refused(
    tmp_path: Path, later: dict[str, Any], problem: str
) -> None:
    commit({"prediction": PREDICTION_SCHEMA}, tmp_path)
    found = list(history_problems({"prediction": later}, tmp_path))
    assert found[0] == "the current schema of prediction is not committed"
    assert problem in found[1]


def test_an_addition_with_a_default_only_has_to_be_committed(tmp_path: Path) -> None:
    commit({"prediction": PREDICTION_SCHEMA}, tmp_path)
    later = {"prediction": changed(CAUSES)}
    assert list(history_problems(later, tmp_path)) == ["the current schema of prediction is not committed"]
    assert len(commit(later, tmp_path)) == 1
    assert list(history_problems(later, tmp_path)) == []
    assert len(committed_schemas("prediction", tmp_path)) == 2


def test_a_state_kept_as_json_may_gain_fields_with_a_default_only(tmp_path: Path) -> None:
    class Inner(BaseModel):
        a: int

    class State(BaseModel):
        position: int
        inner: Inner

    commit({"state": State.model_json_schema()}, tmp_path)
    later = json.loads(json.dumps(State.model_json_schema()))
    later["$defs"]["Inner"]["properties"] |= {"b": {"type": "integer", "title": "B"}}
    committed = {"state": later}
    commit(committed, tmp_path)
    assert list(history_problems(committed, tmp_path)) == []
    later["$defs"]["Inner"]["required"].append("b")
    assert "state: Inner.b was added without a default, so earlier records cannot be read" in list(
        history_problems(committed, tmp_path)
    )
