"""Event contracts: the fields of a source's events, their roles, and which of them hold personal data.

A contract is a pydantic model. Every other description of the event (Avro schema, JSON Schema, the kernel's validation
plan, the table in the docs) is derived from it::

    class CardTransaction(Contract, name="card_transaction", version=1):
        transaction_id: Annotated[str, EVENT_ID, Field(max_length=36)]
        event_time: Annotated[int, EVENT_TIME]
        card_id: Annotated[str, ENTITY, PII_HASH]
        amount: Annotated[float, Field(ge=0)]
        merchant_city: str | None = None

A contract of reference data (``reference=True``) has neither EVENT_TIME nor EVENT_ID: its records are no events.

Field types are ``str``, ``int`` (64 bit), ``float`` (finite), ``bool``, ``Literal`` of strings, and ``list`` of one of
these, each optionally ``| None``. Types are strict: ``"12"`` is not a number. Unknown fields are ignored, so producers
may add fields first. A field's type is that of its column. :mod:`schemas.written` has what says that producers write it
elsewhere in the event, or in another form: ``At("payload.amount")``, ``ISO8601``. An instance has the values of the
columns.

The job's kernel reads events by the same rules, without pydantic. So a contract may use only what the kernel has, too:
``Field`` with bounds, lengths and a pattern. Anything else of pydantic's is refused when the class is created.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import re
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Annotated, Any, ClassVar, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticUserError,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, SchemaError

from schemas.constraints import has_values, value_problem
from schemas.event_time import EARLIEST_MS, looks_like
from schemas.field_types import Elements, field_type, settle_list
from schemas.imported.entry import FromSchemas
from schemas.kinds import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_DROP,
    PII_HASH,
    ColumnType,
    Compatibility,
    ListType,
    Pii,
    Role,
)
from schemas.written import ARRAY, MARKERS, At, Form, check_places, settings_of

__all__ = [
    "ENTITY",
    "EVENT_ID",
    "EVENT_TIME",
    "PII_DROP",
    "PII_HASH",
    "ColumnType",
    "Compatibility",
    "Contract",
    "ContractField",
    "ListType",
    "Pii",
    "Role",
    "contract_fields",
    "field_with_role",
    "pii_hash",
]

_CONTRACT_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")


class ContractField(BaseModel):
    """One field of a contract as plain data; the kernel's validation plan consists of these.

    Bounds are inclusive unless ``*_exclusive`` is set. Lengths count Unicode code points. ``pattern`` has search
    semantics: it matches the whole value only if it is anchored. :mod:`schemas.patterns` has its syntax.

    ``at`` is the way to the value in the event, if it is not the field of the same name. ``written`` is the form of the
    value there, with ``scale`` and ``precision`` of a decimal. ``otherwise`` replaces a text that is not in ``enum``.

    Of a list, ``at`` is the way to the array, ``each`` that to the value within an element, and constraints and form
    are of each value. ``max_elements`` limits the array. Elements without a value are refused, or left out if
    ``nullable_elements``.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    type: ColumnType | ListType
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
    at: tuple[str, ...] | None = None
    written: Form | None = None
    scale: int | None = None
    precision: int | None = None
    otherwise: str | None = None
    each: tuple[str, ...] | None = None
    max_elements: int | None = None
    nullable_elements: bool | None = None

    @property
    def is_list(self) -> bool:
        """Whether the column is a list."""
        return self.type.endswith(ARRAY)

    @property
    def value_type(self) -> str:
        """The type of the column, or of a list's elements."""
        return self.type.removesuffix(ARRAY)

    @property
    def place(self) -> tuple[str, ...]:
        """The way to the value in the event; of a list, to the array."""
        return (self.name,) if self.at is None else self.at

    @property
    def way(self) -> tuple[str, ...]:
        """The way to the value, through the array of a list."""
        return (*self.place, ARRAY, *(self.each or ())) if self.is_list else self.place

    @property
    def path(self) -> str:
        """:attr:`way` as text, as refusals name the field: ``items[].sku``."""
        return ".".join(self.place) + (f"{ARRAY}.{'.'.join(self.each)}" if self.each else "")

    @property
    def is_plain(self) -> bool:
        """Whether the event has the column's value, under the column's name; an array can have what a list has not."""
        return self.at is None and self.written is None and self.otherwise is None and not self.is_list

    @model_serializer(mode="wrap")
    def _without_later_settings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before these settings existed, unless they are set: plans have hashes."""
        data: dict[str, Any] = handler(self)
        return {name: value for name, value in data.items() if value is not None or name not in _LATER}


_LATER = {"at", "written", "scale", "precision", "otherwise", "each", "max_elements", "nullable_elements"}


class Contract(FromSchemas, BaseModel):
    """Base class of all event contracts; the module's docstring shows one.

    Raises:
        TypeError: when the class is created, if the readers would not all treat it alike: a field's type or setting is
            not supported, or the roles do not fit.
    """

    # Built once our own checks have passed: pydantic's errors about a field name neither it nor the contract.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)

    contract_name: ClassVar[str]
    contract_version: ClassVar[int]
    compatibility: ClassVar[Compatibility]
    is_reference_data: ClassVar[bool]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Pass the class arguments on to ``__pydantic_init_subclass__``, which runs once the fields are known."""
        super().__init_subclass__()
        for name in vars(cls).get("__annotations__", {}):
            if name in {*_OWN_NAMES, *vars(FromSchemas)} or (
                name.startswith("model_") and callable(getattr(Contract, name, None))
            ):
                raise TypeError(
                    f"{cls.__name__}.{name}: a contract has an attribute of this name itself, so no field can have it; "
                    "leave the field out, or let producers write the value under another name"
                )

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]
        cls,
        *,
        name: str,
        version: int,
        compatibility: Compatibility = "BACKWARD",
        reference: bool = False,
        **kwargs: Any,
    ) -> None:
        """Set the contract's name, version and compatibility, and refuse fields that the pipeline does not support."""
        super().__pydantic_init_subclass__(**kwargs)
        _check_arguments(cls.__name__, name, version, compatibility)
        cls.contract_name, cls.contract_version, cls.compatibility = name, version, compatibility
        cls.is_reference_data = reference
        _check_class(cls)
        for field_name, info in cls.model_fields.items():
            is_list = settle_list(f"{cls.__name__}.{field_name}", info)
            _place_by_alias(info, is_list=is_list)
        fields = contract_fields(cls)
        times = [f.name for f in fields if Role.EVENT_TIME in f.roles]
        ids = [f.name for f in fields if Role.EVENT_ID in f.roles]
        if reference and times + ids:
            raise TypeError(
                f"contract {name}: reference data has no events, so {(times + ids)[0]} can be neither EVENT_TIME nor "
                "EVENT_ID; leave the role out"
            )
        if not reference and len(times) != 1:
            raise TypeError(f"contract {name}: exactly one field must be EVENT_TIME, found {times or 'none'}")
        if len(ids) > 1:
            raise TypeError(f"contract {name}: at most one field may be EVENT_ID, found {ids}")
        for field in fields:
            _check_field(name, field)
        check_places(name, {field.name: field.way for field in fields})
        cls.model_rebuild(force=True)

    @model_validator(mode="after")
    def _check_values(self) -> Contract:
        """The rules of events that pydantic does not have."""
        contract = type(self)
        fields = contract_fields(contract)
        for field in fields:
            if problem := value_problem(getattr(self, field.name)):
                raise ValueError(f"{field.path}: {problem}")
        for field in fields:
            if Role.EVENT_ID in field.roles and not getattr(self, field.name):
                raise ValueError(f"{field.path}: an event id must not be empty")
        for field in fields:
            if Role.EVENT_TIME not in field.roles or field.minimum is not None:
                continue
            if (time := getattr(self, field.name)) < EARLIEST_MS:
                raise ValueError(
                    f"{field.path}: before 2000-01-01, the earliest event time of a contract without a bound of its "
                    f"own (Field(ge=...)){looks_like(time) if field.written is None else ''}"
                )
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


_OWN_NAMES = {"contract_name", "contract_version", "compatibility", "is_reference_data"}
_ALLOWED_CONFIG = {"title", "json_schema_extra", "use_attribute_docstrings", "protected_namespaces"}
_ALLOWED_OVERRIDES = {"__repr__", "__str__", "__eq__", "__hash__", "__signature__"}
# What pydantic's Field may set. Everything else must be as in a plain Field.
_ALLOWED_SETTINGS = {
    *("annotation", "default", "metadata", "alias_priority"),
    *("title", "description", "examples", "json_schema_extra", "repr"),
}
_INSTEAD = {
    "default_factory": "use a constant default",
    "alias": "use it alone, without At and other aliases",
    "validation_alias": "use alias= or At(...)",
    "serialization_alias": "use alias= or At(...)",
    "exclude": "mark a personal field PII_DROP",
    "frozen": "leave it out, as every event is frozen",
    "validate_default": "leave it out, as defaults are checked when the class is created",
}


def _check_class(contract: type[Contract]) -> None:
    """Refuse what pydantic would do with an event and the job's kernel would not."""
    where = contract.__name__
    settings = {name for name, value in contract.model_config.items() if Contract.model_config.get(name) != value}
    if settings := settings - _ALLOWED_CONFIG:
        raise TypeError(f"{where}: model_config {sorted(settings)} is not supported in a contract; leave it out")
    if contract.__private_attributes__:
        private = sorted(contract.__private_attributes__)
        raise TypeError(
            f"{where}: private attributes {private} are not supported in a contract; use ClassVar or a field"
        )
    ours, theirs = Contract.__pydantic_decorators__, contract.__pydantic_decorators__
    for kind in dataclass_fields(theirs):
        if names := sorted(getattr(theirs, kind.name).keys() - getattr(ours, kind.name).keys()):
            raise TypeError(
                f"{where}: {names[0]} is one of pydantic's {kind.name}, which are not supported in a contract; "
                "use Field(ge=..., pattern=...) for rules, and a Derived column for computed values"
            )
    for base in contract.__mro__[: contract.__mro__.index(Contract)]:
        for name, member in vars(base).items():
            if inspect.isroutine(member) and hasattr(Contract, name) and name not in _ALLOWED_OVERRIDES:
                raise TypeError(f"{where}: a contract cannot define {name} anew; the job's kernel would not call it")


def _place_by_alias(info: FieldInfo, *, is_list: bool) -> None:
    """Make an alias the field's place. Pydantic must not know it: an instance has the values of columns."""
    if info.alias is None or not info.alias == info.validation_alias == info.serialization_alias:
        return
    if any(isinstance(item, At) for item in info.metadata):
        return
    # An alias is a name as it is, also if it ends as the mark of an array does.
    info.metadata.append(At((f"{info.alias}{ARRAY}" if is_list and info.alias.endswith(ARRAY) else info.alias,)))
    info.alias = info.validation_alias = info.serialization_alias = info.alias_priority = None


def _field(contract: type[Contract], name: str, info: FieldInfo) -> ContractField:
    where = f"{contract.__name__}.{name}"
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) is None:
        raise TypeError(f"{where}: a field's name consists of the letters a to z, digits and _")
    plain = FieldInfo()
    for setting in FieldInfo.__slots__:
        if setting.startswith("_") or setting in _ALLOWED_SETTINGS or getattr(info, setting) == getattr(plain, setting):
            continue
        advice = _INSTEAD.get(setting, "leave it out")
        raise TypeError(f"{where}: {setting}= is not supported in a contract; {advice}")
    kind, nullable, settings = field_type(
        where, info, [item for item in info.metadata if not isinstance(item, (Role, Pii, Elements, *MARKERS))]
    )
    roles = tuple(item for item in info.metadata if isinstance(item, Role))
    pii = [item for item in info.metadata if isinstance(item, Pii)]
    if twice := [role.name for role in Role if roles.count(role) > 1]:
        raise TypeError(f"{where}: {twice[0]} is given twice")
    if len(pii) > 1:
        found = ", ".join(f"PII_{item.name}" for item in pii)
        raise TypeError(f"{where}: give either PII_HASH or PII_DROP, once, not {found}")
    adapter = _adapter(where, info)
    default = None if info.default is PydanticUndefined else info.default
    if kind.endswith(ARRAY) and default is not None:
        raise TypeError(f"{where}: a list can only have the default None, with | None as its type")
    if not info.is_required() and not (default is None and nullable):
        _check_default(where, info, adapter)
    markers = [item for item in info.metadata if isinstance(item, MARKERS)]
    written = settings_of(where, kind, settings.get("enum"), default, markers)
    return ContractField(
        name=name,
        type=cast("ColumnType | ListType", kind),
        nullable=nullable,
        required=info.is_required(),
        default=default,
        roles=roles,
        pii=next(iter(pii), None),
        description=info.description,
        **settings,
        **written,
    )


def _adapter(where: str, info: FieldInfo) -> TypeAdapter[Any]:
    """Pydantic's validator of the field alone; what pydantic refuses is refused with the field's name."""
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))
    except (SchemaError, PydanticUserError) as error:
        raise TypeError(f"{where}: pydantic refuses the field's rules: {str(error).splitlines()[-1]}") from error


def _check_default(where: str, info: FieldInfo, adapter: TypeAdapter[Any]) -> None:
    """Pydantic does not validate defaults; the kernel and Avro need ones of the field's type."""
    try:
        adapter.validate_python(info.default)
    except ValidationError as error:
        raise TypeError(
            f"{where}: the default {info.default!r} breaks the field's rules: {error.errors()[0]['msg']}"
        ) from None
    if problem := value_problem(info.default):
        raise TypeError(f"{where}: the default: {problem}")


def _check_arguments(cls: str, name: object, version: object, compatibility: object) -> None:
    if not isinstance(name, str) or not _CONTRACT_NAME.fullmatch(name):
        raise TypeError(f"contract {cls}: name is {name!r}; it must be letters, digits and _, and begin with a letter")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise TypeError(f"contract {name}: version is {version!r}; it must be an integer from 1 on")
    if compatibility not in get_args(Compatibility):
        allowed = ", ".join(get_args(Compatibility))
        raise TypeError(f"contract {name}: compatibility is {compatibility!r}; it must be one of {allowed}")


def _check_field(contract: str, field: ContractField) -> None:
    lengths = [length for length in (field.min_length, field.max_length) if length is not None]
    if lengths != sorted(lengths):
        raise TypeError(f"contract {contract}: min_length of {field.name} is greater than its max_length")
    earliest = EARLIEST_MS if Role.EVENT_TIME in field.roles else None
    low, high = earliest if field.minimum is None else field.minimum, field.maximum
    if not has_values(field.value_type, low, field.minimum_exclusive, high, field.maximum_exclusive):
        raise TypeError(f"contract {contract}: no value of {field.name} is within its bounds ({low} to {high})")
    if Role.EVENT_TIME in field.roles and (field.type != "long" or field.nullable):
        raise TypeError(f"contract {contract}: event time {field.name} must be int (epoch milliseconds), not null")
    if Role.EVENT_ID in field.roles and (field.type != "string" or field.nullable):
        raise TypeError(f"contract {contract}: event id {field.name} must be str, not null")
    if Role.EVENT_ID in field.roles and (field.max_length == 0 or field.enum == ("",)):
        raise TypeError(f"contract {contract}: event id {field.name} can only be empty, and an event id must not be")
    if field.is_list and Role.ENTITY in field.roles:
        raise TypeError(f"contract {contract}: list {field.name} cannot be an entity: an event has one of each")
    if field.pii and field.value_type != "string":
        raise TypeError(f"contract {contract}: only str fields can be PII, {field.name} is {field.type}")
    if field.pii and (Role.EVENT_TIME in field.roles or Role.EVENT_ID in field.roles):
        raise TypeError(f"contract {contract}: {field.name} cannot be both PII and event id or event time")
    if field.pii is Pii.DROP and Role.ENTITY in field.roles:
        raise TypeError(f"contract {contract}: {field.name} is dropped as PII and so cannot be an entity; use PII_HASH")
