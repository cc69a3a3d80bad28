"""The sample contract of these tests, and contracts made from plain fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from penstock import ENTITY, EVENT_ID, EVENT_TIME, PII_DROP, PII_HASH, Contract
from schemas.contract import ContractField

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

_TYPES: dict[str, Any] = {"string": str, "long": int, "double": float, "boolean": bool}


def contract_of(
    *fields: ContractField, name: str = "made", version: int = 1, compatibility: str = "BACKWARD"
) -> type[Contract]:
    """A contract with an event time ``t`` and the given fields: the inverse of ``contract_fields``."""
    definitions: dict[str, Any] = {"t": (Annotated[int, EVENT_TIME, Field(ge=0)], ...)}
    for field in fields:
        kind = Literal[field.enum] if field.enum else _TYPES[field.type]
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
        annotation = Annotated[kind | None if field.nullable else kind, info, *field.roles]
        definitions[field.name] = (annotation, ... if field.required else field.default)
    return create_model(
        f"{name.title()}V{version}",
        __base__=Contract,
        __module__=__name__,
        __cls_kwargs__={"name": name, "version": version, "compatibility": compatibility},
        **definitions,
    )
