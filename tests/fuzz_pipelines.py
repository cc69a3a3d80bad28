"""Random pipelines and hostile records for them, from a seed: what no author and no producer would write on purpose."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from schemas import committed
from schemas.avro import contract_schema
from schemas.codec import Decoder, Encoder, Rejection, decode_event
from schemas.contract import Contract, ContractField, Role, contract_fields
from schemas.conversions import written_value
from schemas.documents import document_of, place, row_of
from streams.definitions.aggregates.spec import SPECS
from streams.plan.project import Project, open_project

PARTITIONS = 2
START_MS = 1_700_000_000_000
# A longer record is refused by producers and brokers as they are set up.
_LONGEST = 2_000_000
_CHARACTERS = ["a", "Z", "7", " ", "|", "\\", "\x00", "\n", '"', "é", "ẞ", "｡", "😀", "\u202e", "\ufeff"]
_TEXTS = [
    "",
    " ",
    "\x00",
    "null",
    "NaN",
    "0",
    "-1",
    "1e999",
    "😀",
    "é" * 40,
    "a|b\\|",
    "' OR 1=1 --",
    "${jndi:x}",
    "\ufffe",
]
_LONGS = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**12]
_DOUBLES = [0.0, -0.0, 1.5, -3.25, 1e-320, 5e-324, 1.7976931348623157e308, -1e308, 1e154, 1e-160, 123456.789]
_WRITTEN: dict[str, list[Any]] = {
    "decimal": ["1.5", "-0.001", "12", "+7.250", "100.125", "1.2345", "1e3"],
    "date": ["2024-02-29", "1969-12-31", 19_000, -1, "2023-02-29"],
    "nanoseconds": [START_MS * 10**6 + 1, 0, -1, 2**63 - 1, 2**63],
}
_WINDOWS = ["1s", "10s", "1m", "7m", "1h", "lifetime"]

_FUNCTIONS = '''
def odd(text: str | None, number: float | None) -> {kind}:
    """What an author may have overlooked."""
    case = hash_of(text) % 9
    if case == 0:
        raise ValueError(text)
    if case == 1:
        sys.exit(text)
    if case == 2:
        return float("nan")
    if case == 3:
        return float("-inf")
    if case == 4:
        return 10**30
    if case == 5:
        return "x" + chr(0xD800)
    if case == 6:
        return [text]
    if case == 7:
        time.sleep(0.002)
        return None
    return {value}


def hash_of(text: str | None) -> int:
    return sum((text or "").encode())
'''


class Hostile(NamedTuple):
    """A record to produce: partition, key, value, headers and its Kafka timestamp (None: now).

    All valid events of a card are in one partition, whatever the record's key is, as a source requires it.
    """

    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int | None


def define(folder: Path, name: str, rng: random.Random) -> Project:
    """Write a pipeline with two versions of its contract, the first committed, and load it."""
    fields = _fields(rng)
    python = rng.random() < 0.7
    for version in (1, 2):
        # The second version adds an optional field, as a compatible version may.
        of_version = (
            fields if version == 1 else [*fields, "    added: Annotated[str | None, Field(max_length=9)] = None"]
        )
        # A file is imported once, so each version has one of its own.
        file = folder / (f"{name}.py" if version == 2 else f"{name}_first.py")
        file.write_text(
            _definition(name, version, of_version, random.Random(rng.random()), python=python), encoding="utf-8"
        )
        project = open_project(str(file))
        if version == 1:
            committed.export(project.forms, project.schemas)
            # Only the contract has a history: the views and records of the first version never ran.
            for stale in [*project.schemas.glob("views/**/*.json"), *project.schemas.glob("records/**/*.avsc")]:
                stale.unlink()
    return project


def _fields(rng: random.Random) -> list[str]:
    """The fields of a contract, one line each: every type, with and without null, default, constraint, protection."""
    card = rng.choice(["ENTITY", "ENTITY, PII_HASH", "ENTITY, Field(max_length=50)"])
    choices = [
        "    s: str | None = None",
        '    s: str = "none"',
        "    s: str",
        "    s: Annotated[str | None, PII_HASH] = None",
        '    s: Annotated[str | None, Field(min_length=1, max_length=30, pattern="^[^x]*$")] = None',
    ]
    time = rng.choice(["", "", ", ISO8601", ", SECONDS", ', At("meta.time"), MICROSECONDS', ', At("meta.@t"), ISO8601'])
    return [
        f"    id: Annotated[str, EVENT_ID{rng.choice(['', ', Field(max_length=40)', ', At(NESTED_ID)'])}]",
        f"    time: Annotated[int, EVENT_TIME{time}]",
        f"    card: Annotated[str, {card}{rng.choice(['', ', At(NESTED_CARD)'])}]",
        rng.choice(
            [
                "    shop: str | None = None",
                "    shop: int | None = None",
                "    shop: Annotated[int | None, Field(ge=0)] = None",
            ]
        ),
        rng.choice(choices),
        rng.choice(
            [
                "    x: float",
                "    x: float | None = None",
                "    x: Annotated[float | None, Field(gt=-10, le=1e9)] = None",
                '    x: Annotated[float | None, At("payload.x"), AsDecimal(scale=3)] = None',
            ]
        ),
        rng.choice(
            [
                "    n: int | None = None",
                "    n: int = 7",
                "    n: Annotated[int | None, Field(ge=-5, lt=2**53)] = None",
                "    n: Annotated[int | None, DATE] = None",
                '    n: Annotated[int | None, At("payload.n"), NANOSECONDS] = None',
            ]
        ),
        rng.choice(["    b: bool | None = None", "    b: bool = False", "    b: bool"]),
        rng.choice(
            [
                '    kind: Literal["a", "é", ""] | None = None',
                '    kind: Literal["a"] = "a"',
                '    kind: Annotated[Literal["a", "b"] | None, Otherwise("b"), At("payload.kind")] = None',
            ]
        ),
        rng.choice(["    secret: Annotated[str | None, PII_DROP] = None", "    value: float | None = None"]),
        rng.choice(
            [
                "    ss: list[str] | None = None",
                '    ss: Annotated[list[str | None], At("items[].s"), Field(max_length=3)]',
                '    ss: Annotated[list[str] | None, At("payload.ss"), PII_HASH] = None',
            ]
        ),
        rng.choice(
            [
                "    xs: list[float | None] | None = None",
                '    xs: Annotated[list[float | None] | None, At("items[].x.amount"), AsDecimal(scale=3)] = None',
                '    xs: Annotated[list[Annotated[float, Field(ge=-1)]] | None, At("payload.xs[].x")] = None',
            ]
        ),
    ]


def _definition(name: str, version: int, fields: list[str], rng: random.Random, *, python: bool) -> str:
    kind, value = rng.choice([("str", "text"), ("float", "number"), ("bool", "number is None"), ("int", "case")])
    column_type = {"str": "string", "float": "double", "bool": "boolean", "int": "long"}[kind]
    columns = {"x": "double", "n": "long", "b": "boolean", "s": "string"}
    derived = [
        '"twice": Derived(sql="x * 2", type="double")',
        '"or_some": Derived(sql="COALESCE(s, \'some\')", type="string")',
    ]
    columns |= {"twice": "double", "or_some": "string"}
    derived.append('"some": Derived(sql="CARDINALITY(xs)", type="long")')
    columns["some"] = "long"
    if python:
        derived.append(f'"odd": PythonColumn(function=odd, columns=("s", "x"), type="{column_type}")')
        columns["odd"] = column_type
    keyed = not any("PII_HASH" in field and "card" in field for field in fields)
    passthrough = rng.sample(sorted(columns), rng.randint(0, len(columns)))
    return "\n".join(
        [
            f'"""The random pipeline {name}."""',
            "",
            "import sys",
            "import time",
            "from typing import Annotated, Literal",
            "",
            "from pydantic import Field",
            "",
            "from penstock import *  # noqa: F403",
            "",
            'NESTED_ID, NESTED_CARD = "meta.id", "payload.card"',
            "",
            "",
            f'class Event(Contract, name="{name}_event", version={version}):',
            '    """An event."""',
            "",
            *fields,
            "",
            _FUNCTIONS.format(kind=kind, value=value),
            'card, shop = Entity(name="card", key="card"), Entity(name="shop", key="shop")',
            'pair = Entity(name="pair", key=("card", "shop"))',
            _view("by_card", "card", columns, rng, derived=True),
            _view("by_shop", "shop", columns, rng),
            _view("by_pair", "pair", columns, rng),
            "pipeline = Pipeline(",
            f'    name="{name}",',
            f'    source=Source(topic="events.{name}", contract=Event, key="card",',
            f"        partitions={PARTITIONS}, max_bytes=300_000),",
            "    entities=(shop, card, pair)," if keyed else "    entities=(card, pair, shop),",
            f"    derived={{{', '.join(derived)}}},",
            "    views=(by_card, by_shop, by_pair),",
            f'    model=Model(name="{name}", inputs=("by_card.rows_1h",), threshold=0.5, positive="p", negative="n"),',
            f"    passthrough={tuple(passthrough)!r},",
            ")",
            "",
        ]
    )


def _view(name: str, entity: str, columns: dict[str, str], rng: random.Random, *, derived: bool = False) -> str:
    aggregates = [
        'count(over="1h", name="rows")',
        *(_aggregate(f"f{n}", columns, rng) for n in range(rng.randint(2, 8))),
    ]
    arguments = [f'name="{name}"', "version=1", f"entity={entity}", f"aggregates=({', '.join(aggregates)},)"]
    if derived:
        arguments.append('derived={"ratio": Derived(sql="rows_1h / (rows_1h - 1)", type="double")}')
    if rng.random() < 0.3:
        arguments.append('refresh="1s"')
    return f"{name} = View({', '.join(arguments)})"


def _aggregate(name: str, columns: dict[str, str], rng: random.Random) -> str:
    spec = rng.choice(list(SPECS.values()))
    numeric = [column for column, kind in columns.items() if kind in ("double", "long")]
    arguments = []
    if not spec.depends_on_event and rng.random() < 0.25:
        arguments.append(f'each="{"xs" if spec.numeric else rng.choice(["ss", "xs"])}"')
    elif spec.numeric:
        arguments.append(f'"{rng.choice(numeric)}"')
    elif spec.needs_column:
        arguments.append(f'"{rng.choice(list(columns))}"')
    windows = [window for window in _WINDOWS if window != "lifetime" or spec.no_lifetime is None]
    over = rng.sample(windows, rng.randint(1, 2))
    arguments += [f"over={tuple(over)!r}", f'name="{name}"']
    parameters = {
        "half_life": '"30s"',
        "gap": '"5s"',
        "k": str(rng.choice([1, 3, 100])),
        "buckets": "(-1.0, 0.0, 10.0)",
        "q": str(rng.choice([0.01, 0.28, 0.5, 0.99])),
        "bound": str(rng.choice([1, 20, 1_000])),
    }
    arguments += [f"{parameter}={parameters[parameter]}" for parameter in spec.parameters if parameter in parameters]
    if rng.random() < 0.3:
        arguments.append(
            f'where="{rng.choice(["x > 1", "n < 5", "s IS NOT NULL", "b", "s = ANY(ss)", "CARDINALITY(xs) > 1"])}"'
        )
    return f"{spec.public_name}({', '.join(arguments)})"


def records(project: Project, count: int, rng: random.Random, now_ms: int) -> Iterator[Hostile]:
    """Records for the pipeline: valid events, and everything that is not one."""
    contract = project.pipeline.source.contract
    fields = contract_fields(contract)
    writers = _writers(project, contract)
    encoders = [Encoder(schema) for schema in writers]
    clock, sent = START_MS, list[bytes | None]()
    for number in range(count):
        clock += rng.choice([0, 1, 500, 2_000, 60_000])
        event = _event(fields, number, clock, rng)
        value = _value(event, contract, encoders, sent, rng, now_ms)
        sent.append(value)
        key = rng.choice([_key(event), _key(event), _key(event), None, b"", b"\xff\x00", b"k" * 3_000])
        headers: list[tuple[str, bytes | None]] = rng.choice(
            [
                [],
                [],
                [("trace", b"1")],
                [("", None)],
                [("penstock.value.bytes", b"x"), ("__connect.errors.topic", b"t")],
            ]
        )
        decoded = decode_event(
            value, contract, Decoder(*writers), kafka_timestamp_ms=now_ms, max_future_ms=2**63, max_bytes=10**9
        )
        card = "" if isinstance(decoded, Rejection) else getattr(decoded, "card")  # noqa: B009 - of every contract here
        partition = rng.randrange(PARTITIONS) if isinstance(decoded, Rejection) else sum(card.encode()) % PARTITIONS
        yield Hostile(partition, key, value, headers, rng.choice([*[None] * 14, 1, clock]))


def _key(event: dict[str, Any]) -> bytes:
    card = event.get("card")
    return (card if isinstance(card, str) else "none").encode(errors="replace")


def _writers(project: Project, contract: type[Contract]) -> list[dict[str, Any]]:
    """The schemas of both versions of the contract."""
    files = sorted((project.schemas / "avro" / contract.contract_name).glob("v*.avsc"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files] + [contract_schema(contract)]


def _event(fields: tuple[ContractField, ...], number: int, clock: int, rng: random.Random) -> dict[str, Any]:
    """The values of an event's fields as they are written, valid more often than not."""
    event: dict[str, Any] = {}
    for field in fields:
        if Role.EVENT_TIME in field.roles:
            time = clock - rng.choice([0, 0, 0, 0, 0, 700, 30_000, 10**7])
            event[field.name] = written_value(time, field.written, None, avro=False)
        elif Role.EVENT_ID in field.roles:
            event[field.name] = f"{number}" if rng.random() < 0.95 else f"{rng.randrange(number + 1)}"
        elif field.name == "card":
            event[field.name] = rng.choice(["a", "b", "a|b", "😀", "c\\"])
        elif not field.required and rng.random() < 0.2:
            continue
        elif field.nullable and rng.random() < 0.2:
            event[field.name] = None
        else:
            event[field.name] = _field_value(field, rng)
    return event


def _text(rng: random.Random) -> str:
    if rng.random() < 0.02:
        return rng.choice(_CHARACTERS) * rng.choice([300, 20_000, 60_000])
    return "".join(rng.choices(_CHARACTERS, k=rng.randint(1, 6))) if rng.random() < 0.7 else rng.choice(_TEXTS)


def _list(field: ContractField, rng: random.Random) -> list[Any]:
    element = field.model_copy(update={"type": field.value_type})
    elements = [_field_value(element, rng) for _ in range(rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 7, 101]))]
    return [*elements, None] if rng.random() < (0.3 if field.nullable_elements else 0.02) else elements


def _field_value(field: ContractField, rng: random.Random) -> Any:
    if field.is_list:
        return _list(field, rng)
    values = _WRITTEN.get(field.written or "", field.enum)
    if values is not None:
        return rng.choice([*values, "no"] if field.otherwise else values)
    match field.type:
        case "string":
            return _text(rng)
        case "long":
            return rng.randint(0, 20) if rng.random() < 0.7 else rng.choice(_LONGS)
        case "double":
            return round(rng.uniform(-5, 100), 3) if rng.random() < 0.7 else rng.choice(_DOUBLES)
        case _:
            return rng.random() < 0.5


def _value(
    event: dict[str, Any],
    contract: type[Contract],
    encoders: list[Encoder],
    sent: list[bytes | None],
    rng: random.Random,
    now_ms: int,
) -> bytes | None:
    kind, fields = rng.random(), contract_fields(contract)
    if kind < 0.5:
        return _json(event, fields, ascii_only=rng.random() < 0.5)
    if kind < 0.65:
        return _avro(event, contract, encoders, rng)
    if kind < 0.7 and sent:
        return rng.choice(sent)
    if kind < 0.75:
        return _wrong_framing(event, rng)
    if kind < 0.9:
        return _wrong_value(event, fields, rng, now_ms)
    return _wrong_text(_json(event, fields).decode(), rng)


def _json(event: dict[str, Any], fields: tuple[ContractField, ...], *, ascii_only: bool = True) -> bytes:
    """The event with each field where it is written; what is no field is beside them."""
    known = {field.name: field for field in fields}
    document: dict[str, Any] = {}
    for name, value in event.items():
        if name in known:
            place(document, known[name], value)
        else:
            document[name] = value
    return json.dumps(document, ensure_ascii=ascii_only).encode()


def _avro(event: dict[str, Any], contract: type[Contract], encoders: list[Encoder], rng: random.Random) -> bytes:
    """Avro of either version: whole, cut short, with a byte too many, or with a byte changed."""
    fields = contract_fields(contract)
    text = _json(event, fields)
    columns = row_of(json.loads(text), contract)
    try:
        full = document_of({field.name: columns.get(field.name, field.default) for field in fields}, fields, avro=True)
        value = rng.choice(encoders).encode(full)
    except (ValueError, TypeError, OverflowError, AttributeError):
        return text
    match rng.randrange(8):
        case 0:
            return value[: rng.randrange(len(value))]
        case 1:
            return value + rng.randbytes(1)
        case 2:
            at = rng.randrange(len(value))
            return value[:at] + rng.randbytes(1) + value[at + 1 :]
        case 3:
            return value[:10] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + value[10:]
        case _:
            return value


def _wrong_framing(event: dict[str, Any], rng: random.Random) -> bytes | None:
    return rng.choice(
        [
            None,
            b"",
            b"\x00",
            b"\x00" + struct.pack(">I", rng.randrange(2**32)) + rng.randbytes(20),
            b"\xc3\x01",
            b"\xc3\x01" + rng.randbytes(8),
            b"\xc3\x01" + rng.randbytes(40),
            rng.randbytes(rng.randint(1, 200)),
            b"\x80" * 5_000,
        ]
    )


def _wrong_value(event: dict[str, Any], fields: tuple[ContractField, ...], rng: random.Random, now_ms: int) -> bytes:
    """JSON with one field that does not belong there, or times that no clock shows."""
    name = rng.choice(fields).name
    odd: list[Any] = [
        None,
        "",
        "12",
        12,
        -1,
        1.5,
        True,
        [],
        [1],
        {},
        {"a": [{}]},
        2**63,
        -(2**63) - 1,
        2**64,
        10**400,
        "\x00",
    ]
    match rng.randrange(4):
        case 0:
            event = {**event, name: rng.choice(odd)}
        case 1:
            event = {key: value for key, value in event.items() if key != name}
        case 2:
            times = [now_ms + 10**9, 2**63 - 1, -(2**63), 0, -1, START_MS // 1_000, START_MS * 1_000]
            event = {**event, "time": rng.choice(times)}
        case _:
            event = {**event, "unknown": rng.choice([*odd, "x" * 400_000, "y" * 100_000])}
    return _json(event, fields)


def _wrong_text(text: str, rng: random.Random) -> bytes:
    """JSON that is none, or that only some parsers take."""
    depth = rng.choice([50, 99, 101, 5_000, 100_000])
    literal = rng.choice(
        ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 2_000, "0x10", "01", "+1", ".5", "1.", "1e"]
    )
    surrogate = rng.choice(["\\ud800", "\\udc00\\ud800", "\\u0000", "\\x41"])
    cases = [
        text[: rng.randrange(len(text))].encode(),
        (text + rng.choice(["x", "}", text, "\x00", " "])).encode(),
        (text[:-1] + ', "x": ' + literal + "}").encode(),
        (text[:-1] + ', "s": "' + surrogate + '"}').encode(),
        (text[:-1] + ', "card": "' + surrogate + '"}').encode(),
        (text[:-1] + ', "new": ' + "[" * depth + "]" * depth + "}").encode(),
        (text[:-1] + ', "new": ' + '{"a":' * depth + "1" + "}" * depth + "}").encode(),
        text.encode("utf-16"),
        text.encode().replace(b'"card"', b'"card\xff"'),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode().replace(b'"a"', b'"\xed\xa0\x80"'),
        (text.encode() * 3_000)[:_LONGEST],
        rng.choice([b"null", b"[]", b'"a"', b"1", b"{}", b"{", b"\x00{}"]),
    ]
    return rng.choice(cases)
