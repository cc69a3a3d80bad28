"""Event contracts: the fields of a source's events, their roles, and which of them hold personal data.

A contract is a pydantic model. Every other description of the event (Avro schema, JSON Schema, the kernel's validation
plan, the table in the docs) is derived from it::

    class CardTransaction(Contract, name="card_transaction", version=1):
        transaction_id: Annotated[str, EVENT_ID, Field(max_length=36)]
        event_time: Annotated[int, EVENT_TIME]
        card_id: Annotated[str, ENTITY, PII_HASH]
        amount: Annotated[float, Field(ge=0)]
        merchant_city: str | None = None

Field types are ``str``, ``int`` (64 bit), ``float`` (finite), ``bool`` and ``Literal`` of strings, each optionally
``| None``. Types are strict: ``"12"`` is not a number. Unknown fields are ignored, so producers may add fields first.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_SURROGATE = re.compile("[\ud800-\udfff]")

ColumnType = Literal["string", "long", "double", "boolean"]
Compatibility = Literal["BACKWARD", "FORWARD", "FULL", "NONE"]


class Role(Enum):
    """What the pipeline uses a field for; declared in the field's ``Annotated``."""

    EVENT_ID = "event_id"
    EVENT_TIME = "event_time"
    ENTITY = "entity"


class Pii(Enum):
    """How the job protects a personal field before its value leaves the job."""

    HASH = "hash"
    DROP = "drop"


EVENT_ID, EVENT_TIME, ENTITY = Role.EVENT_ID, Role.EVENT_TIME, Role.ENTITY
PII_HASH, PII_DROP = Pii.HASH, Pii.DROP


class ContractField(BaseModel):
    """One field of a contract as plain data; the kernel's validation plan consists of these.

    Bounds are inclusive unless ``*_exclusive`` is set. Lengths count Unicode code points. ``pattern`` has search
    semantics: it matches the whole value only if it is anchored. It uses the regex subset shared by Rust, Java and
    Python.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    type: ColumnType
    nullable: bool = False
    required: bool = True
    default: str | int | float | bool | None = None
    minimum: float | int | None = None
    minimum_exclusive: bool = False
    maximum: float | int | None = None
    maximum_exclusive: bool = False
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] | None = None
    roles: tuple[Role, ...] = ()
    pii: Pii | None = None
    description: str | None = None


class Contract(BaseModel):
    """Base class of all event contracts; the module's docstring shows one.

    Raises:
        TypeError: when the class is created, if a field's type is not supported or the roles do not fit.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)

    contract_name: ClassVar[str]
    contract_version: ClassVar[int]
    compatibility: ClassVar[Compatibility]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Pass the class arguments on to ``__pydantic_init_subclass__``, which runs once the fields are known."""
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]
        cls, *, name: str, version: int, compatibility: Compatibility = "BACKWARD", **kwargs: Any
    ) -> None:
        """Set the contract's name, version and compatibility, and refuse fields that the pipeline does not support."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.contract_name, cls.contract_version, cls.compatibility = name, version, compatibility
        fields = contract_fields(cls)
        times = [f.name for f in fields if Role.EVENT_TIME in f.roles]
        ids = [f.name for f in fields if Role.EVENT_ID in f.roles]
        if len(times) != 1:
            raise TypeError(f"contract {name}: exactly one field must be EVENT_TIME, found {times or 'none'}")
        if len(ids) > 1:
            raise TypeError(f"contract {name}: at most one field may be EVENT_ID, found {ids}")
        for field in fields:
            _check_field(name, field)

    @model_validator(mode="after")
    def _check_values_fit_avro(self) -> Contract:
        for name, value in self.__dict__.items():
            if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
                raise ValueError(f"{name}: integer does not fit 64 bits")
            if type(value) is str and _SURROGATE.search(value):
                raise ValueError(f"{name}: unpaired surrogate")
        return self


@cache
def contract_fields(contract: type[Contract]) -> tuple[ContractField, ...]:
    """Return the fields of a contract as plain data, in declaration order."""
    return tuple(_field(contract, name, info) for name, info in contract.model_fields.items())


@cache
def field_with_role(contract: type[Contract], role: Role) -> str | None:
    """Return the name of the first field with ``role``, or None."""
    return next((f.name for f in contract_fields(contract) if role in f.roles), None)


def pii_hash(key: bytes, value: str) -> str:
    """Return the keyed hash of a personal value: the first 128 bits of HMAC-SHA256, as 32 hex digits."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32]


def _field(contract: type[Contract], name: str, info: FieldInfo) -> ContractField:
    kind, nullable, enum = _column_type(contract.__name__, name, info.annotation)
    bounds: dict[str, Any] = {}
    for item in info.metadata:
        match item:
            case annotated_types.Ge(ge=value):
                bounds |= {"minimum": value}
            case annotated_types.Gt(gt=value):
                bounds |= {"minimum": value, "minimum_exclusive": True}
            case annotated_types.Le(le=value):
                bounds |= {"maximum": value}
            case annotated_types.Lt(lt=value):
                bounds |= {"maximum": value, "maximum_exclusive": True}
            case annotated_types.MinLen(min_length=value):
                bounds |= {"min_length": value}
            case annotated_types.MaxLen(max_length=value):
                bounds |= {"max_length": value}
            case Role() | Pii():
                pass
            case _ if getattr(item, "pattern", None) is not None:
                bounds |= {"pattern": item.pattern}
            case _ if getattr(item, "strict", None) is not None or getattr(item, "allow_inf_nan", None) is not None:
                pass
            case _:
                raise TypeError(f"{contract.__name__}.{name}: constraint {item!r} is not supported in a contract")
    return ContractField(
        name=name,
        type=kind,
        nullable=nullable,
        required=info.is_required(),
        default=None if info.default is PydanticUndefined else info.default,
        enum=enum,
        roles=tuple(item for item in info.metadata if isinstance(item, Role)),
        pii=next((item for item in info.metadata if isinstance(item, Pii)), None),
        description=info.description,
        **bounds,
    )


def _column_type(contract: str, name: str, annotation: Any) -> tuple[ColumnType, bool, tuple[str, ...] | None]:
    nullable = False
    if get_origin(annotation) in (Union, UnionType):
        members = [a for a in get_args(annotation) if a is not NoneType]
        nullable = len(members) < len(get_args(annotation))
        if len(members) != 1:
            raise TypeError(f"{contract}.{name}: a field is one type, or one type | None, not {annotation}")
        annotation = members[0]
    if get_origin(annotation) is Literal and all(isinstance(a, str) for a in get_args(annotation)):
        return "string", nullable, get_args(annotation)
    types: dict[Any, ColumnType] = {str: "string", int: "long", float: "double", bool: "boolean"}
    if annotation not in types:
        raise TypeError(
            f"{contract}.{name}: type {annotation} is not supported; use str, int, float, bool or Literal of strings"
        )
    return types[annotation], nullable, None


def _check_field(contract: str, field: ContractField) -> None:
    if Role.EVENT_TIME in field.roles and (field.type != "long" or field.nullable):
        raise TypeError(f"contract {contract}: event time {field.name} must be int (epoch milliseconds), not null")
    if Role.EVENT_ID in field.roles and (field.type != "string" or field.nullable):
        raise TypeError(f"contract {contract}: event id {field.name} must be str, not null")
    if field.pii and field.type != "string":
        raise TypeError(f"contract {contract}: only str fields can be PII, {field.name} is {field.type}")
    if field.pii and (Role.EVENT_TIME in field.roles or Role.EVENT_ID in field.roles):
        raise TypeError(f"contract {contract}: {field.name} cannot be both PII and event id or event time")
    if field.pii is Pii.DROP and Role.ENTITY in field.roles:
        raise TypeError(f"contract {contract}: {field.name} is dropped as PII and so cannot be an entity; use PII_HASH")
