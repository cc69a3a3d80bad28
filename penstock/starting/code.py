"""Writes Python: the pipeline of a draft, and its parts. Pure.

The code is as ``ruff format`` leaves it, whatever its line length: what may be too long has one element per line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penstock.starting.enveloped import code_of
from penstock.starting.findings import Column
from penstock.starting.naming import class_name
from penstock.starting.roles import Draft
from penstock.starting.times import MARKERS
from schemas.envelopes import ENVELOPE
from streams.definitions.windows import duration_text

_LINE = 88
_MOST_MEANS = 3
_FEW_VALUES = 20
_FORMS = {"date": "DATE", "uuid": "UUID", "bytes": "BYTES"}
_FORMS |= {form: marker for form, marker in MARKERS.values() if form is not None}
_PYTHON = {"string": "str", "long": "int", "double": "float", "boolean": "bool"}
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# The gap between two events of an entity, up to which the windows are right.
_WINDOWS_MS: Sequence[tuple[float, tuple[int, ...]]] = (
    (10_000, (60_000, _HOUR_MS, _DAY_MS)),
    (600_000, (600_000, _HOUR_MS, _DAY_MS)),
    (12 * _HOUR_MS, (_HOUR_MS, _DAY_MS, 7 * _DAY_MS)),
    (float("inf"), (_DAY_MS, 7 * _DAY_MS, 30 * _DAY_MS)),
)


def pipeline_code(draft: Draft, name: str, topic: str, partitions: int | None, source: str) -> str:
    """The file ``pipeline.py``.

    Args:
        draft: The contract to be.
        name: The name of the pipeline, its contract and its model.
        topic: The topic of its events.
        partitions: How many that has; None if it does not exist.
        source: Where the contract comes from, for the reader.
    """
    contract = contract_code(draft, name, source)
    entities = [f'{entity} = Entity(name="{entity}", key="{column}")' for column, entity in draft.entity_names.items()]
    views = [
        view_code(f"{entity}_activity", entity, numbers(draft), windows(draft, column))
        for column, entity in draft.entity_names.items()
    ]
    names = [f"{entity}_activity" for entity in draft.entity_names.values()]
    of_events = [f'"event.{column.name}",' for column in draft.columns if _is_input(column, draft)]
    options = [f"topic={literal(topic)},", f"contract={class_name(name)},", f'key="{draft.entities[0]}",']
    if (envelope := draft.findings.envelope) is not None:
        options.append(f"envelope={code_of(envelope)},")
    options += [] if partitions is None else [f"partitions={partitions},"]
    body = [
        "pipeline = Pipeline(",
        f'    name="{name}",',
        *_indent(_call("source=Source", options, ",")),
        *_indent(_tuple("entities", draft.entity_names.values())),
        *_indent(_tuple("views", names)),
        *_indent(
            _call(
                "model=Model",
                [
                    f'name="{name}",',
                    "inputs=(",
                    *_indent([*of_events, *(f"*{view}.inputs()," for view in names)]),
                    "),",
                    "threshold=0.5,",
                    'positive="review",',
                    'negative="accept",',
                ],
                ",",
            )
        ),
        ")",
    ]
    text = "\n".join([contract, "", "", *entities, "", *("\n\n".join(views)).split("\n"), "", *body])
    return f'"""Features of {name}."""\n\n{_imports(text)}\n\n\n{text}\n'


def contract_code(draft: Draft, name: str, source: str) -> str:
    """The class of the contract."""
    said = source.replace("\\", "/").replace('"', "'")
    given = ["Contract", f'name="{name}"', "version=1"]
    lines = [f"class {class_name(name)}({', '.join(given)}):"]
    if len(lines[0]) > _LINE:
        lines = _call(f"class {class_name(name)}", [f"{one}," for one in given], ":")
    lines += [f'    """An event, as in {said}."""', ""]
    for column in draft.columns:
        lines += _indent(_field(column, draft))
    return "\n".join(lines)


def view_code(name: str, entity: str, means: Sequence[str], over_ms: Sequence[int]) -> str:
    """A view of the counts and means of an entity's events, and of the time since its last one.

    >>> print(view_code("card_activity", "card", ["amount"], [3_600_000, 86_400_000]))
    card_activity = View(
        name="card_activity",
        version=1,
        entity=card,
        aggregates=(
            count(over=("1h", "1d")),
            mean("amount", over=("1h", "1d")),
            time_since_previous(over="1d"),
        ),
    )

    Args:
        name: Its name, also that of the variable.
        entity: The variable of the entity.
        means: The columns.
        over_ms: The lengths of the windows, the longest last.
    """
    texts = [f'"{duration_text(ms)}"' for ms in over_ms]
    over = f"({', '.join(texts)})" if len(texts) > 1 else texts[0]
    aggregates = [f"count(over={over}),", *(line for column in means for line in _mean(column, over))]
    aggregates.append(f"time_since_previous(over={texts[-1]}),")
    parts = [f'name="{name}",', "version=1,", f"entity={entity},", "aggregates=(", *_indent(aggregates), "),"]
    return "\n".join(_call(f"{name} = View", parts))


def _mean(column: str, over: str) -> list[str]:
    line = f'mean("{column}", over={over}),'
    return [line] if len(line) + 8 <= _LINE else _call("mean", [f'"{column}",', f"over={over},"], ",")


def numbers(draft: Draft) -> list[str]:
    """The columns whose mean says something: numbers that are no keys and no times; amounts first."""
    found = [
        column
        for column in draft.columns
        if column.type in ("long", "double")
        and not column.is_list
        and column.name not in (*draft.entities, draft.time)
        and column.time is None
        and not column.name.endswith(("_id", "_key", "_no", "_number", "_code", "year", "month"))
        and column.name not in ("id", "lat", "lon", "latitude", "longitude")
    ]
    return [column.name for column in sorted(found, key=lambda one: one.type != "double")][:_MOST_MEANS]


def windows(draft: Draft, column: str) -> tuple[int, ...]:
    """Windows that hold some events of an entity, in milliseconds: by the gap between two of its events."""
    entity, span_ms = draft.column(column), draft.column(draft.time).span_ms
    if not entity.distinct_of or not span_ms:
        return _WINDOWS_MS[2][1]
    gap_ms = span_ms * entity.distinct / entity.distinct_of
    return next(over for most, over in _WINDOWS_MS if gap_ms <= most)


def literal(value: Any, *, indent: int = 0) -> str:
    r"""A value as code: a dictionary or a list has one entry per line.

    >>> literal("it's"), literal('say "x"'), literal(None)
    ('"it\'s"', '\'say "x"\'', 'None')
    """
    if isinstance(value, dict):
        pad = " " * (indent + 4)
        entries = "".join(f"{pad}{literal(k)}: {literal(v, indent=indent + 4)},\n" for k, v in value.items())
        return f"{{\n{entries}{' ' * indent}}}" if value else "{}"
    if isinstance(value, list):
        pad = " " * (indent + 4)
        elements = "".join(f"{pad}{literal(one, indent=indent + 4)},\n" for one in value)
        return f"[\n{elements}{' ' * indent}]" if value else "[]"
    text = repr(value)
    if isinstance(value, str) and text.startswith("'") and '"' not in value:
        return '"' + text[1:-1].replace("\\'", "'") + '"'
    return text


def import_code(names: Iterable[str]) -> str:
    """The import of names of Penstock, in the order of linters: constants, classes, functions."""
    ordered = sorted({*names}, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    return "from penstock import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def _imports(text: str) -> str:
    """The imports of what the code uses."""
    words = {*text.replace("(", " ").replace("[", " ").replace(",", " ").replace("]", " ").split()}
    known = {"ENTITY", "EVENT_ID", "EVENT_TIME", "PII_DROP", "PII_HASH", "AsDecimal", "At", "Contract", "Entity"}
    known |= {
        "CloudEvents",
        "Debezium",
        "InEnvelope",
        "Model",
        "Pipeline",
        "Source",
        "View",
        "count",
        "mean",
        "time_since_previous",
        *_FORMS.values(),
    }
    words |= {word.rpartition("=")[2] for word in words}
    typing = sorted({"Annotated", "Literal"} & words)
    lines = [f"from typing import {', '.join(typing)}", ""] if typing else []
    lines.append(import_code(known & words))
    return "\n".join([*lines, "from pydantic import Field"] if "Field" in words else lines)


def _field(column: Column, draft: Draft) -> list[str]:
    markers: list[str] = []
    treatment = draft.personal.get(column.name)
    is_time = column.name == draft.time
    markers += ["EVENT_ID"] if column.name == draft.id else []
    markers += ["EVENT_TIME"] if is_time else []
    markers += ["ENTITY"] if column.name in draft.entities else []
    markers += [f"PII_{treatment.upper()}"] if treatment else []
    if column.place != (column.name,):
        is_around = column.place[0] == ENVELOPE
        way = column.place[is_around:]
        place = literal(way if any("." in name for name in way) else ".".join(way))
        markers.append(f"{'InEnvelope' if is_around else 'At'}({place})")
    if is_time:
        markers += [marker] if (marker := MARKERS[draft.unit][1]) else []
    elif column.form == "decimal":
        markers.append(f"AsDecimal(scale={column.scale})")
    elif column.form is not None:
        markers.append(_FORMS[column.form])
    rules = {} if column.is_list else dict(column.rules)
    if column.name in draft.entities and column.type == "string" and not column.form and not column.is_empty_seen:
        rules.setdefault("min_length", 1)
    if column.max_elements is not None:
        rules["max_length"] = column.max_elements
    markers += _rules(rules)
    return _declaration(column, markers, is_dropped=treatment == "drop")


def _rules(rules: Mapping[str, Any]) -> list[str]:
    return [f"Field({', '.join(f'{name}={literal(value)}' for name, value in rules.items())})"] if rules else []


def _declaration(column: Column, markers: list[str], *, is_dropped: bool) -> list[str]:
    kind = _PYTHON[column.type]
    if column.is_enum:
        kind = f"Literal[{', '.join(map(literal, column.values))}]"
    if column.is_list:
        element = f"{kind} | None" if column.nullable_elements else kind
        rules = _rules(column.rules)
        kind = f"list[Annotated[{element}, {rules[0]}]]" if rules else f"list[{element}]"
    is_optional = column.nullable or is_dropped
    given = "" if column.default is None else f" = {literal(column.default)}"
    kind, default = (f"{kind} | None", " = None") if is_optional else (kind, given)
    if not markers:
        return [f"{column.name}: {kind}{default}"]
    line = f"{column.name}: Annotated[{', '.join([kind, *markers])}]{default}"
    if len(line) + 4 <= _LINE:
        return [line]
    return [f"{column.name}: Annotated[", *_indent(f"{part}," for part in (kind, *markers)), f"]{default}"]


def _is_input(column: Column, draft: Draft) -> bool:
    """Whether the model can learn from it: a number, a flag, or a text of few values."""
    if column.name in (*draft.entities, draft.id, draft.time, *draft.personal) or column.time is not None:
        return False
    if column.is_list or column.name == "id" or column.is_constant:
        return False
    if column.type in ("long", "double", "boolean"):
        return column.type == "boolean" or not column.name.endswith(("_id", "_key", "_no", "_number"))
    has_few = column.distinct <= _FEW_VALUES < column.distinct_of
    return column.personal is None and (column.is_enum or (column.form is None and has_few))


def _tuple(argument: str, names: Iterable[str]) -> list[str]:
    listed = list(names)
    line = f"{argument}=({', '.join(listed)}{',' if len(listed) == 1 else ''}),"
    return [line] if len(line) + 4 <= _LINE else _call(f"{argument}=", [f"{name}," for name in listed], ",")


def _call(what: str, parts: Iterable[str], end: str = "") -> list[str]:
    return [f"{what}(", *_indent(parts), f"){end}"]


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
