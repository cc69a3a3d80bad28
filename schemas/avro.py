"""The Avro schema of a contract, its canonical form and its fingerprint.

Producers in any language read this schema. Avro cannot express ranges, lengths, patterns, allowed values, roles and
personal data, so the schema keeps them in ``penstock.*`` attributes, which Avro readers ignore. A committed ``.avsc``
alone therefore describes a contract version completely: :func:`fields_of` restores its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import cleandoc
from typing import Any

from fastavro.schema import fingerprint as _fastavro_fingerprint
from fastavro.schema import parse_schema, to_parsing_canonical_form

from schemas.contract import Contract, ContractField, Role, contract_fields
from schemas.written import ARRAY, avro_name

NAMESPACE = "penstock.events"

_CONSTRAINTS = (
    "minimum",
    "minimum_exclusive",
    "maximum",
    "maximum_exclusive",
    "min_length",
    "max_length",
    "pattern",
    "enum",
    "otherwise",
    "max_elements",
)
_TYPES_OF_FORMS: dict[str, Any] = {
    "iso8601": "string",
    "seconds": "long",
    "microseconds": {"type": "long", "logicalType": "timestamp-micros"},
    "nanoseconds": {"type": "long", "logicalType": "timestamp-nanos"},
    "date": {"type": "int", "logicalType": "date"},
    "uuid": {"type": "string", "logicalType": "uuid"},
    "bytes": "bytes",
}


def contract_schema(contract: type[Contract]) -> dict[str, Any]:
    """Return the Avro record of a contract: fields in order, ``T | None`` as a union, defaults kept.

    Only a field with a default has an Avro default. Producers must write every other field, even a nullable one. Equal
    contracts give equal schemas, key order included, so committed files can be compared as text. Fields within objects
    are in records, those of lists in records within an array; ``penstock.columns`` then has the order of the contract's
    fields.
    """
    fields = contract_fields(contract)
    return {
        "type": "record",
        "name": contract.contract_name,
        "namespace": NAMESPACE,
        **({"doc": cleandoc(contract.__doc__)} if contract.__doc__ else {}),
        "fields": _avro_fields(fields, f"{NAMESPACE}.{contract.contract_name}"),
        **({"penstock.columns": [field.name for field in fields]} if any(field.at for field in fields) else {}),
        "penstock.version": contract.contract_version,
        "penstock.compatibility": contract.compatibility,
    }


def canonical_form(schema: Any) -> str:
    """Return Avro's parsing canonical form: the schema without docs, defaults and attributes."""
    form: str = to_parsing_canonical_form(schema)
    return form


def fingerprint(schema: Any) -> bytes:
    """Return the schema id of single-object encoding: CRC-64-AVRO of the canonical form, 8 bytes, little endian."""
    # fastavro prints the bytes in wire order.
    return bytes.fromhex(_fastavro_fingerprint(canonical_form(schema), "CRC-64-AVRO"))


def parse_avro(schema: Any) -> Any:
    """Parse a schema for fastavro, which then converts no logical types: a time stays the integer that is written.

    They are in ``penstock.logicalType`` (:func:`schemas.documents.logical_types`).

    Raises:
        fastavro.schema.SchemaParseException, fastavro.schema.UnknownType: if it is not an Avro schema.
    """
    return parse_schema(_without_logical_types(schema))


def nesting(parsed: Any) -> float:
    """How deep the values of a schema (from :func:`parse_avro`) nest; infinite if it contains itself."""
    records: dict[str, float] = {}

    def depth(schema: Any) -> float:
        if isinstance(schema, str):
            return records.get(schema, 0)
        if isinstance(schema, list):
            return max(map(depth, schema), default=0)
        match schema["type"]:
            case "record" | "error":
                records[schema["name"]] = float("inf")
                records[schema["name"]] = 1 + max((depth(field["type"]) for field in schema["fields"]), default=0)
                return records[schema["name"]]
            case "array":
                return 1 + depth(schema["items"])
            case "map":
                return 1 + depth(schema["values"])
            case kind:
                return depth(kind)

    return depth(parsed)


def has_items_without_bytes(parsed: Any) -> bool:
    """Whether values of a schema (from :func:`parse_avro`) may have any number of items that take no bytes.

    A few bytes are such an array of a billion nulls. The items of all other arrays, and of maps, take at least one byte
    each. ``parsed`` must not contain itself.
    """
    found = False
    records: dict[str, bool] = {}

    def takes_none(schema: Any) -> bool:
        nonlocal found
        result = False
        match schema:
            case str():
                result = schema == "null" or records.get(schema, False)
            case list():  # the number of the branch takes a byte
                for branch in schema:
                    takes_none(branch)
            case {"type": "record" | "error"}:
                of_fields = [takes_none(field["type"]) for field in schema["fields"]]
                result = records[schema["name"]] = all(of_fields)
            case {"type": "fixed"}:
                result = records[schema["name"]] = schema["size"] == 0
            case {"type": "array"}:
                # Not `found |=`, which would forget what is found within.
                if takes_none(schema["items"]):
                    found = True
            case {"type": "map"}:
                takes_none(schema["values"])
            case _:
                result = takes_none(schema["type"])
        return result

    takes_none(parsed)
    return found


def fields_of(schema: dict[str, Any]) -> tuple[ContractField, ...]:
    """Return the contract fields of a schema; the exact inverse of :func:`contract_schema`."""
    found = {field.name: field for field in _contract_fields(schema)}
    return tuple(found[name] for name in schema.get("penstock.columns", found))


def _avro_fields(fields: Sequence[ContractField], namespace: str, depth: int = 0) -> list[dict[str, Any]]:
    """The fields of the record that those of a contract have ``depth`` names in common."""
    found: dict[str, list[ContractField]] = {}
    for field in fields:
        found.setdefault(avro_name(field.way[depth]), []).append(field)
    return [_avro_part(inner, name, namespace, depth + 1) for name, inner in found.items()]


def _avro_part(inner: list[ContractField], name: str, namespace: str, depth: int) -> dict[str, Any]:
    """The field called ``name`` with these in it: one of them, a record, or an array of records."""
    first = inner[0]
    is_array = first.way[depth : depth + 1] == (ARRAY,)
    depth += is_array
    if len(first.way) == depth:
        return _avro_field(first, name)
    fields = _avro_fields(inner, f"{namespace}.{name}", depth)
    record: Any = {"type": "record", "name": name, "namespace": namespace, "fields": fields}
    if not is_array:
        return {"name": name, "type": record}
    array = {"type": "array", "items": record}
    if not all(field.nullable for field in inner):
        return {"name": name, "type": array}
    is_optional = not any(field.required for field in inner)
    return {"name": name, "type": ["null", array], **({"default": None} if is_optional else {})}


def _contract_fields(schema: dict[str, Any]) -> Iterator[ContractField]:
    for field in schema["fields"]:
        kind = next(branch for branch in _branches(field["type"]) if branch != "null")
        inner = kind["items"] if isinstance(kind, dict) and kind["type"] == "array" else kind
        if isinstance(inner, dict) and inner["type"] == "record":
            yield from _contract_fields(inner)
        else:
            yield _contract_field(field)


def _avro_field(field: ContractField, name: str) -> dict[str, Any]:
    kind = _avro_type(field)
    # Of what is within an array, it is the array that may be null or missing.
    is_inner = field.each is not None
    has_default = not field.required and not is_inner
    avro: dict[str, Any] = {"name": name, "type": kind}
    if field.nullable and not is_inner:
        # An Avro default must fit the first branch of its union.
        avro["type"] = [kind, "null"] if has_default and field.default is not None else ["null", kind]
    if field.description:
        avro["doc"] = field.description
    if has_default:
        avro["default"] = field.default
    return avro | _attributes(field)


def _avro_type(field: ContractField) -> Any:
    """The type of a value as it is written; of a list without objects, of its array."""
    kind: Any = field.value_type
    if field.written == "decimal":
        kind = {"type": "bytes", "logicalType": "decimal", "precision": field.precision, "scale": field.scale}
    elif field.written is not None:
        kind = _TYPES_OF_FORMS[field.written]
    elif Role.EVENT_TIME in field.roles:
        kind = {"type": "long", "logicalType": "timestamp-millis"}
    if field.nullable_elements:
        kind = ["null", kind]
    return {"type": "array", "items": kind} if field.is_list and field.each is None else kind


def _attributes(field: ContractField) -> dict[str, Any]:
    """What Avro cannot express."""
    avro: dict[str, Any] = {}
    if field.roles:
        avro["penstock.roles"] = [role.value for role in field.roles]
    if field.pii:
        avro["penstock.pii"] = field.pii.value
    if field.at is not None:
        avro |= {"penstock.column": field.name, "penstock.at": list(field.at)}
    if field.each is not None:
        avro["penstock.each"] = {"way": list(field.each), "nullable": field.nullable, "required": field.required}
    if field.written is not None:
        # The type of the column does not follow from that of the value.
        avro["penstock.written"] = {"form": field.written, "type": field.value_type}
    constraints = field.model_dump(mode="json", include=set(_CONSTRAINTS), exclude_defaults=True)
    if constraints:
        avro["penstock.constraints"] = {name: constraints[name] for name in _CONSTRAINTS if name in constraints}
    return avro


def _contract_field(avro: dict[str, Any]) -> ContractField:
    each = avro.get("penstock.each")
    branches = _branches(avro["type"])
    kind = next(branch for branch in branches if branch != "null")
    is_array = isinstance(kind, dict) and kind["type"] == "array"
    elements = _branches(kind["items"]) if is_array else branches
    kind = next(branch for branch in elements if branch != "null")
    written = avro.get("penstock.written", {})
    of_decimal = {name: kind[name] for name in ("scale", "precision")} if written.get("form") == "decimal" else {}
    value_type = written.get("type") or (kind["type"] if isinstance(kind, dict) else kind)
    is_list = is_array or each is not None
    return ContractField(
        name=avro.get("penstock.column", avro["name"]),
        at=avro.get("penstock.at"),
        each=each and each["way"],
        written=written.get("form"),
        **of_decimal,
        type=f"{value_type}{ARRAY if is_list else ''}",
        nullable="null" in branches if each is None else each["nullable"],
        required="default" not in avro if each is None else each["required"],
        nullable_elements=True if is_list and "null" in elements else None,
        default=avro.get("default"),
        roles=avro.get("penstock.roles", ()),
        pii=avro.get("penstock.pii"),
        description=avro.get("doc"),
        **avro.get("penstock.constraints", {}),
    )


def _branches(kind: Any) -> list[Any]:
    return kind if isinstance(kind, list) else [kind]


_RENAMED = {"logicalType": "penstock.logicalType"}


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical_types(item) for item in schema]
    if isinstance(schema, dict):
        return {
            _RENAMED.get(name, name): _without_logical_types(value)
            if name in ("type", "fields", "items", "values")
            else value
            for name, value in schema.items()
        }
    return schema
