"""The same orders in each format, and projects made of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.starting.folder import Written, write_project
from penstock.starting.roles import Answers, decide
from penstock.starting.samples import Sample
from tests.schemas.imported.protobufs import REPEATED, compiled, file, message

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS: list[dict[str, Any]] = [
    {
        "order_id": f"o-{number}",
        "ordered_at": BEGIN + timedelta(minutes=number),
        "customer_id": f"c{number % 7}",
        "e-mail": f"person{number % 7}@example.org",
        "first_name": f"Ada{number}",
        "amount": Decimal(f"{number}.50"),
        "class": "ab"[number % 2],
        "items": number % 3 + 1,
        "is_new": number % 5 == 0,
    }
    for number in range(60)
]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "order_id", "type": "string"},
        {"name": "ordered_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {
            "name": "customer",
            "type": {
                "type": "record",
                "name": "Customer",
                "fields": [{"name": "id", "type": "string"}, {"name": "email", "type": ["null", "string"]}],
            },
        },
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["web", "shop"]}},
        {"name": "token", "type": ["null", {"type": "string", "logicalType": "uuid"}], "default": None},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                        {
                            "name": "price",
                            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                        },
                    ],
                },
            },
        },
        {"name": "either", "type": ["string", "long"]},
    ],
}


def write_jsonl(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for order in ORDERS:
            person = {"id": order["customer_id"], "e-mail": order["e-mail"], "first_name": order["first_name"]}
            kept = {k: v for k, v in order.items() if k not in ("customer_id", "e-mail", "first_name")}
            kept["cart"] = [{"sku": f"s{n}", "price": n / 2, "for": order["e-mail"]} for n in range(order["items"])]
            kept["tags"] = ["new", None] if order["is_new"] else []
            written = {"ordered_at": order["ordered_at"].isoformat(), "amount": float(order["amount"])}
            file.write(json.dumps(kept | written | {"customer": person}) + "\n")


def write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # with a byte order mark
        writer = csv.DictWriter(file, [*ORDERS[0]])
        writer.writeheader()
        writer.writerows(order | {"ordered_at": int(order["ordered_at"].timestamp())} for order in ORDERS)


def write_parquet(path: Path) -> None:
    lists = {"fees": [Decimal("1.25"), None], "seen": [BEGIN], "cart": [{"price": Decimal("2.50"), "token": b"a"}]}
    pq.write_table(pa.Table.from_pylist([order | lists for order in ORDERS]), path)


def write_avro(path: Path) -> None:
    rows = [
        {
            "order_id": order["order_id"],
            "ordered_at": order["ordered_at"],
            "customer": {"id": order["customer_id"], "email": None},
            "amount": order["amount"],
            "kind": "web",
            "day": BEGIN.date(),
            "seen": BEGIN,
            "tags": ["a", "b"],
            "lines": [{"at": BEGIN, "price": Decimal("1.50")}],
            "either": 1 if order["is_new"] else "x",
        }
        for order in ORDERS
    ]
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(SCHEMA), rows)


def write_schema(path: Path) -> None:
    path.write_text(json.dumps(SCHEMA), encoding="utf-8")


def write_json_schema(path: Path) -> None:
    item = {
        "type": "object",
        "required": ["sku"],
        "properties": {"sku": {"type": "string", "minLength": 3}, "price": {"type": "number", "minimum": 2}},
    }
    properties = {
        "order_id": {"type": "string", "minLength": 5, "maxLength": 9},
        "ordered_at": {"type": "string", "format": "date-time"},
        "customer_id": {"type": "string", "pattern": "^c[0-9]+$"},
        "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
        "items": {"type": "integer", "minimum": 5},
        "kind": {"enum": ["web", "shop"], "default": "web"},
        "lines": {"type": "array", "items": item, "maxItems": 20},
    }
    required = [name for name in properties if name not in ("kind", "lines")]
    path.write_text(json.dumps({"type": "object", "properties": properties, "required": required}), encoding="utf-8")


def write_protobuf(path: Path) -> None:
    order = message(
        "Order",
        ("order_id", "string"),
        ("ordered_at", ".google.protobuf.Timestamp"),
        ("customer", ".shop.Order.Customer"),
        ("amount", "double"),
        ("lines", ".shop.Order.Line", REPEATED),
        nested_type=[message("Customer", ("id", "string")), message("Line", ("sku", "string"), ("price", "double"))],
    )
    path.write_bytes(compiled(file(order)))


WRITERS: dict[str, Callable[[Path], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "avro": write_avro,
    "avsc": write_schema,
    "json": write_json_schema,
    "pb": write_protobuf,
}
SCHEMAS = ("avsc", "json", "pb")


def project(sample: Sample, name: str, parent: Path) -> Written:
    """A project with what is safe."""
    draft = decide(sample.findings, name, Answers(), lambda question: question.safe)
    return write_project(draft, sample, name, f"events.{name}", parent, "penstock init")
