"""The spec of an aggregate, which pipelines call like a function, and the definition that the call returns."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import FunctionType
from typing import Annotated, Any, Generic, Literal, ParamSpec, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from schemas.contract import ColumnType
from schemas.feature_types import FeatureType, FeatureValue, element_of, list_of
from streams.definitions.aggregates.signatures import REQUIRED, Call
from streams.definitions.aggregates.window_contents import WindowContents
from streams.definitions.base import Definition, Name, Sql
from streams.definitions.windows import LIFETIME_MS, Duration, Window

P = ParamSpec("P")

SPECS: dict[str, AggregateSpec[...]] = {}
"""All aggregates, by name. Importing :mod:`streams.definitions.aggregates` fills it."""
MAX_ELEMENTS = 100
"""The maximum number of elements of a list, and of edges of a histogram."""
_BUILTINS = frozenset(dir(builtins))


def _check_operation(operation: str) -> str:
    if operation not in SPECS:
        raise ValueError(f"there is no aggregate {operation!r}; there are {', '.join(sorted(SPECS))}")
    return operation


def _parse_windows(value: Any) -> Any:
    windows = (value,) if isinstance(value, str | Window) else value
    return tuple(Window.of(window) if isinstance(window, str) else window for window in windows)


def _check_increasing(edges: tuple[float, ...]) -> tuple[float, ...]:
    if any(left >= right for left, right in pairwise(edges)):
        raise ValueError("the edges of the buckets must increase strictly")
    return edges


Operation = Annotated[str, AfterValidator(_check_operation)]
"""The name of an aggregate; other texts are refused."""
_K = Annotated[int, Field(ge=1, le=MAX_ELEMENTS)]
_Edge = Annotated[float, Field(allow_inf_nan=False)]
_Edges = Annotated[tuple[_Edge, ...], Field(min_length=1, max_length=MAX_ELEMENTS), AfterValidator(_check_increasing)]
# Parameters of only some aggregates. One that is not set is not part of a view's definition, nor of its hash.
_PARAMETERS = ("half_life", "k", "buckets", "q", "bound", "gap")


class Aggregate(Definition):
    """One aggregate over one or more windows; each window gives one feature, ``<name>_<window>``.

    ``where`` is a SQL condition on the row (null counts as false). With ``each``, the column has lists, and each
    element counts as a value. Call an :class:`AggregateSpec` to create one.
    """

    operation: Operation
    column: Name | None
    each: bool = False
    windows: Annotated[tuple[Window, ...], BeforeValidator(_parse_windows), Field(min_length=1)]
    where: Sql | None = None
    name: Name
    half_life: Duration | None = None
    k: _K | None = None
    buckets: _Edges | None = None
    q: Annotated[float, Field(gt=0, lt=1)] | None = None
    bound: Annotated[int, Field(ge=1, le=10_000)] | None = None
    gap: Duration | None = None

    @model_validator(mode="after")
    def _check_each(self) -> Self:
        if self.each and SPECS[self.operation].depends_on_event:
            raise ValueError(
                f"{self.name}: {self.operation}(each=...) does not exist: it is about the one value of this event, and "
                "a list has several"
            )
        return self

    @model_validator(mode="after")
    def _check_lifetime(self) -> Self:
        reason = SPECS[self.operation].no_lifetime
        if reason is not None and any(window.size == LIFETIME_MS for window in self.windows):
            raise ValueError(f"{self.name}: {reason}")
        return self

    @model_serializer(mode="wrap")
    def _without_unset_parameters(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        unset = {name for name in _PARAMETERS if fields[name] is None} | (set() if self.each else {"each"})
        return {name: value for name, value in fields.items() if name not in unset}

    def type(self, columns: Mapping[str, FeatureType]) -> FeatureType:
        """The type of its features, given the types of the row's columns."""
        kind = SPECS[self.operation].type
        if kind not in ("column", "column[]"):
            return cast("FeatureType", kind)
        found = columns[self.column or ""]
        value = cast("ColumnType", element_of(found) or found)
        return list_of(value) if kind == "column[]" else value

    def feature_names(self) -> tuple[str, ...]:
        """The names of its features, one per window."""
        return tuple(f"{self.name}_{window.label}" for window in self.windows)


@dataclass(kw_only=True, eq=False, repr=False)
class AggregateSpec(Generic[P]):
    """One aggregate. The only definition of it in Python; the kernel has its own implementation.

    Creating a spec adds it to :data:`SPECS`. Calling it, as in ``mean("amount", over="1h")``, defines features. Assign
    it to its :attr:`public_name` at the top level of a module in this package.

    Args:
        name: Its name in plans, the operation.
        signature: Takes the arguments of a call; see :mod:`streams.definitions.aggregates.signatures`.
        type: The type of its features; ``column`` means the column's type.
        numeric: Whether the column must be a number.
        empty: The value of an empty window; for a list that is not null, the value of each element.
        depends_on_event: Whether the value depends on the triggering event. Such a value does not change between
            events, until the newest event has left the window.
        no_lifetime: Why the aggregate refuses a lifetime window; None if it accepts one.
        oracle: Computes the value from all events of the window, which has at least one. It must be naive, and must
            share no code with an engine.
        tolerance: The allowed difference between an engine and the oracle, in the feature's unit; infinite if any
            value is correct. Raises OverflowError where the computation may leave the range of a double.
        summary: What it computes, for the docs; x is the column, and parameters are in capitals.
        when_empty: The docs' text for an empty window; by default the value.
        agreement: The docs' text for ``tolerance``.
    """

    name: str
    signature: Callable[P, Call]
    type: Literal["long", "double", "boolean", "column", "long[]", "double[]", "column[]"]
    numeric: bool = False
    empty: int | float | None = None
    depends_on_event: bool = False
    no_lifetime: str | None = None
    oracle: Callable[[WindowContents], FeatureValue]
    tolerance: Callable[[WindowContents], float] | None = None
    summary: str
    when_empty: str = ""
    agreement: str = "exact"

    def __post_init__(self) -> None:
        if self.name in SPECS:
            raise ValueError(f"there are two aggregates {self.name!r}; rename one")
        SPECS[self.name] = self
        self.when_empty = self.when_empty or ("null" if self.empty is None else f"{self.empty:g}")
        # A copy of the function with the aggregate's name: Python's errors for wrong arguments, and help(), show it.
        self.signature = self.__wrapped__ = _copy_with_name(self.signature, self.public_name)
        self.__doc__ = f"{self.summary[0].upper()}{self.summary[1:]}.\n\nSkips nulls. Empty window: {self.when_empty}."

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Aggregate:
        """Define one feature for each window.

        Raises:
            TypeError: if it needs a column, and there is neither one nor ``each``.
            ValueError: if an argument is not valid, there are a column and ``each``, or ``where`` is given without
                ``name``.
        """
        column, each, over, where, name, parameters, suffix = self.signature(*args, **kwargs)
        if column and each:
            raise ValueError(f"{self.name}({column!r}, each={each!r}): give a column, or a list as each=")
        if each is None and column == REQUIRED:
            raise TypeError(f"{self.public_name}() missing 1 required positional argument: 'column' (or each=)")
        column = each or column
        if name is None and where is not None:
            raise ValueError(f"{self.name}({column or ''}) with where={where!r} needs a name of its own: name=...")
        suffix = suffix or self.name
        default = suffix if column is None else f"{column}_{suffix}"
        # The model's validators convert these arguments into the fields' types.
        fields: dict[str, Any] = {"windows": over, "each": each is not None, **parameters}
        return Aggregate(operation=self.name, column=column, where=where, name=name or default, **fields)

    def __repr__(self) -> str:
        return f"<aggregate {self.public_name}>"

    @property
    def public_name(self) -> str:
        """The name in pipelines: with an underscore (``sum_``) if Python has a builtin of that name."""
        return f"{self.name}_" if self.name in _BUILTINS else self.name

    @property
    def needs_column(self) -> bool:
        """Whether a column is required; otherwise it can aggregate rows."""
        return bool(inspect.signature(self.signature).parameters["column"].default == REQUIRED)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that not all aggregates have."""
        common = ("column", "each", "over", "where", "name")
        return {name: p for name, p in inspect.signature(self.signature).parameters.items() if name not in common}


def _copy_with_name(function: Callable[P, Call], name: str) -> Callable[P, Call]:
    assert isinstance(function, FunctionType)
    code, defaults, closure = function.__code__, function.__defaults__, function.__closure__
    copy = FunctionType(code, function.__globals__, name, defaults, closure)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = function.__annotations__
    copy.__qualname__ = name
    return copy
