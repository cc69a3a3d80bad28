"""Reference data among the events of a test: what each event gets from the rows before it.

The oracle joins: the tests compare the kernel's own join with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import PenstockError
from schemas.avro import contract_schema
from schemas.contract import Pii, pii_hash
from schemas.documents import place
from schemas.feature_types import Value
from streams.definitions.pipeline import Pipeline
from streams.inprocess.kernel import Kernel
from streams.oracle.lookups import Change, LookupHistory, key_text
from streams.plan.model import LookupPlan, PipelinePlan


@dataclass(frozen=True)
class Reference:
    """A record of reference data, as a producer sends it; its Kafka key is the row's key.

    Attributes:
        lookup: The name of a lookup that reads its topic.
        value: Its fields, by the contract's names; of a deleted row only its key. Or the bytes or text of a message.
        deleted: Whether the record is a tombstone, which deletes the row.
    """

    lookup: str
    value: Mapping[str, Any] | bytes | str
    deleted: bool = False


def lookup_of(plan: PipelinePlan, name: str) -> LookupPlan:
    """The lookup of this name.

    Raises:
        PenstockError: if the plan has none; names those that it has.
    """
    for lookup in plan.lookups:
        if lookup.name == name:
            return lookup
    known = ", ".join(lookup.name for lookup in plan.lookups)
    raise PenstockError(
        f"the pipeline has no lookup {name!r}" + (f"; it has {known}" if known else ""),
        next="name one of Pipeline(lookups=(...))",
    )


def decode_references(
    pipeline: Pipeline,
    plan: PipelinePlan,
    references: Sequence[Reference],
    kernel: Kernel,
    pii_key: bytes,
    check: Callable[[str, Sequence[str], Mapping[str, Any], str], None],
) -> list[Change | Mapping[str, Any]]:
    """The change that each record makes, or the kernel's reason for its refusal.

    Args:
        pipeline: The definitions.
        plan: Their plan.
        references: The records.
        kernel: Decodes them.
        pii_key: The key that hashes personal data.
        check: Refuses fields that a contract does not have.

    Raises:
        PenstockError: if a record names no lookup, or has fields that are not of its contract.
    """
    found: list[Change | Mapping[str, Any]] = []
    for number, reference in enumerate(references, 1):
        lookup = lookup_of(plan, reference.lookup)
        where = f"record {number} of reference data"
        if isinstance(reference.value, Mapping):
            check(lookup.contract, [field.name for field in lookup.fields], reference.value, where)
        if reference.deleted:
            found.append(Change(lookup.topic, _deleted_key(lookup, reference, pii_key, where), None))
            continue
        index = plan.lookups.index(lookup)
        writers = [json.dumps(contract_schema(pipeline.lookups[index].contract))]
        record = {"value": base64.b64encode(_message(lookup, reference.value)).decode(), "timestamp": -1}
        key = base64.b64encode(pii_key).decode()
        (answer,) = kernel.decode(plan.model_dump(mode="json"), writers, key, [record], lookup=index)
        if "columns" in answer:
            row = answer["columns"]
            found.append(Change(lookup.topic, key_text([row[name] for name in lookup.key]), row))
        else:
            found.append(answer)
    return found


def looked_up(plan: PipelinePlan, steps: Sequence[Change | tuple[Mapping[str, Value], bool] | None]) -> list[Any]:
    """The columns from lookups of each event (columns, and whether it triggers) among the steps; None for others."""
    history, found = LookupHistory(plan), []
    for number, step in enumerate(steps):
        if isinstance(step, Change):
            history.apply(number, step)
        found.append(history.columns(number, step[0], triggers=step[1]) if isinstance(step, tuple) else None)
    return found


def _deleted_key(lookup: LookupPlan, reference: Reference, pii_key: bytes, where: str) -> str | None:
    hashed = {field.name for field in lookup.fields if field.pii is Pii.HASH}
    values = reference.value if isinstance(reference.value, Mapping) else {}
    if missing := [name for name in lookup.key if values.get(name) is None]:
        raise PenstockError(
            f"a deleted row is named by {', '.join(lookup.key)}, and there is no {missing[0]}", where=where
        )
    parts = [values[name] for name in lookup.key]
    return key_text([pii_hash(pii_key, v) if n in hashed else v for n, v in zip(lookup.key, parts, strict=True)])


def _message(lookup: LookupPlan, value: Mapping[str, Any] | bytes | str) -> bytes:
    if isinstance(value, Mapping):
        document: dict[str, Any] = {}
        for rules in lookup.fields:
            if rules.name in value:
                place(document, rules, value[rules.name])
        value = json.dumps(document)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
