"""The sample contract of these tests, and contracts made from plain fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from penstock import (
    BYTES,
    DATE,
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    ISO8601,
    MICROSECONDS,
    NANOSECONDS,
    PII_DROP,
    PII_HASH,
    SECONDS,
    UUID,
    AsDecimal,
    At,
    Contract,
    Otherwise,
)
from schemas.contract import ContractField
from schemas.written import Written

NOW_MS = 1_700_000_000_000


class Sample(Contract, name="sample", version=2):
    """One field of each kind; decode_cases.json tests this contract."""

    event_id: Annotated[str, EVENT_ID, Field(max_length=8)]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH]
    amount: Annotated[float, Field(ge=0, lt=1000)]
    items: Annotated[int | None, Field(gt=0, le=10)] = None
    channel: Literal["web", "pos"] | None = None
    country: Annotated[str | None, PII_DROP, Field(pattern="^[A-Z]{2}$")] = None
    flag: bool = False


SAMPLE_EVENT: dict[str, Any] = {
    "event_id": "e1",
    "event_time": NOW_MS,
    "card": "4111",
    "amount": 12.5,
    "items": 3,
    "channel": "web",
    "country": "FR",
    "flag": True,
}


class Foreign(Contract, name="foreign", version=1):
    """What others write: nested, in forms of their own. The second part of decode_cases.json tests this contract."""

    event_id: Annotated[str, EVENT_ID, At("meta.id"), UUID]
    event_time: Annotated[int, EVENT_TIME, At("meta.@time"), ISO8601]
    card: Annotated[str, ENTITY, PII_HASH, At("payload.card.number"), Field(max_length=19)]
    holder: Annotated[str | None, PII_DROP, At("payload.card.holder")] = None
    amount: Annotated[float, At("payload.amount"), AsDecimal(scale=2, precision=9), Field(ge=0)]
    fee: Annotated[str | None, At("payload.fee"), AsDecimal(scale=3)] = None
    note: Annotated[str, At("payload.extra.note")] = "none"
    label: Annotated[str | None, At("payload.extra.label")]
    slot: int = Field(alias="position")
    position: int | None = Field(None, alias="user.position")
    device: Annotated[Literal["web", "app", "other"], Otherwise("other")] = "web"
    opened: Annotated[str | None, DATE] = None
    day: Annotated[int | None, DATE] = None
    token: Annotated[str | None, BYTES] = None
    in_s: Annotated[int | None, SECONDS] = None
    in_us: Annotated[int | None, MICROSECONDS] = None
    in_ns: Annotated[int | None, NANOSECONDS] = None
    local: Annotated[int | None, ISO8601] = None


class Framed(Contract, name="framed", version=1):
    """What Protobuf has, and JSON of the same form. framed_cases.json tests this contract."""

    event_id: Annotated[str, EVENT_ID]
    at: Annotated[int, EVENT_TIME, ISO8601]
    card: Annotated[str, ENTITY, PII_HASH, At("card.number")]
    holder: Annotated[str | None, PII_DROP, At("card.holder")] = None
    amount: float = -1.0
    count: Annotated[int, Field(ge=0)] = 9
    channel: Annotated[Literal["UNKNOWN", "CHIP", "other"], Otherwise("other")] = "CHIP"
    fee: int | None = None
    token: Annotated[str | None, BYTES] = None
    label: Annotated[str | None, At("labels.area")] = None
    note: Annotated[str | None, At("extra.@note")] = None
    points: int = 7


class FramedLists(Contract, name="framed_lists", version=1):
    """Arrays of Protobuf. The second part of framed_cases.json tests this contract."""

    event_id: Annotated[str, EVENT_ID]
    at: Annotated[int, EVENT_TIME, ISO8601]
    card: Annotated[str, ENTITY]
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=3)]], Field(max_length=3)]
    skus: Annotated[list[str], At("items[].sku")]
    prices: Annotated[list[Annotated[float, Field(ge=0)]] | None, At("items[].price.amount")] = None
    gifts: Annotated[list[bool | None] | None, At("items[].gift")] = None
    times: Annotated[list[int | None] | None, At("items[].at"), ISO8601] = None
    areas: Annotated[list[str | None] | None, PII_HASH, At("items[].labels.area")] = None
    channels: Annotated[list[Literal["CHIP", "other"]] | None, At("order.channels[]"), Otherwise("other")] = None
    counts: list[int] | None = None
    fees: list[int] | None = None
    stamps: Annotated[list[int] | None, ISO8601] = None
    tokens: Annotated[list[str] | None, BYTES] = None


class Basket(Contract, name="basket", version=1):
    """Lists of each kind. The third part of decode_cases.json tests this contract."""

    event_id: Annotated[str, EVENT_ID]
    event_time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    tags: Annotated[list[str], Field(max_length=4)]
    codes: list[Annotated[str, Field(min_length=2, max_length=3, pattern="^[A-Z]")]] | None = None
    skus: Annotated[list[str], At("order.items[].sku")]
    prices: Annotated[list[Annotated[float, Field(ge=0)]], At("order.items[].price.amount"), AsDecimal(scale=2)]
    gifts: Annotated[list[bool | None], At("order.items[].gift")]
    times: Annotated[list[int | None] | None, At("order.items[].at"), ISO8601] = None
    widths: Annotated[list[Annotated[int | None, Field(gt=0)]] | None, At("imp[].banner.w")] = None
    scores: Annotated[list[float] | None, At("user.scores[]")]
    kinds: Annotated[list[Literal["a", "b"]] | None, Otherwise("b")] = None
    mails: Annotated[list[str] | None, PII_HASH] = None
    notes: Annotated[list[str] | None, PII_DROP, At("user.@notes")] = None


_TYPES: dict[str, Any] = {"string": str, "long": int, "double": float, "boolean": bool}


def _markers(field: ContractField) -> list[Any]:
    way = (*field.place[:-1], f"{field.place[-1]}[]", *(field.each or ())) if field.is_list else field.at
    markers: list[Any] = [At(way)] if field.at and way else []
    if field.written == "decimal":
        assert field.scale is not None
        assert field.precision is not None
        markers.append(AsDecimal(field.scale, field.precision))
    elif field.written is not None:
        markers.append(Written(field.written))
    return markers if field.otherwise is None else [*markers, Otherwise(field.otherwise)]


def contract_of(
    *fields: ContractField, name: str = "made", version: int = 1, compatibility: str = "BACKWARD"
) -> type[Contract]:
    """A contract with an event time ``t`` and the given fields: the inverse of ``contract_fields``."""
    definitions: dict[str, Any] = {"t": (Annotated[int, EVENT_TIME, Field(ge=0)], ...)}
    for field in fields:
        kind = Literal[field.enum] if field.enum else _TYPES[field.value_type]
        info = Field(
            **{
                "gt" if field.minimum_exclusive else "ge": field.minimum,
                "lt" if field.maximum_exclusive else "le": field.maximum,
            },
            min_length=field.min_length,
            max_length=field.max_length,
            pattern=field.pattern,
            description=field.description,
        )
        if field.is_list:
            element: Any = Annotated[kind | None if field.nullable_elements else kind, info]
            kind, info = list[element], Field(max_length=field.max_elements)
        annotation = Annotated[kind | None if field.nullable else kind, info, *field.roles, *_markers(field)]
        definitions[field.name] = (annotation, ... if field.required else field.default)
    return create_model(
        f"{name.title()}V{version}",
        __base__=Contract,
        __module__=__name__,
        __cls_kwargs__={"name": name, "version": version, "compatibility": compatibility},
        **definitions,
    )
