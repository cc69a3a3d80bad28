"""Contracts: what of pydantic they may use, and the rules of events that pydantic does not have."""

from __future__ import annotations

import math
import re
import sys
from typing import Annotated, Any, Literal, Self

import annotated_types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveInt,
    PrivateAttr,
    StrictStr,
    StringConstraints,
    ValidationError,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from penstock import (
    DATE,
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    ISO8601,
    PII_DROP,
    PII_HASH,
    SECONDS,
    UUID,
    AsDecimal,
    At,
    Contract,
    Otherwise,
)
from schemas.constraints import has_values
from schemas.contract import ContractField, contract_fields
from schemas.event_time import EARLIEST_MS


def define(annotation: Any = int, default: Any = ..., name: str = "x", **attributes: Any) -> type[Contract]:
    """A contract with a field of this type and default."""
    return create_model(
        "Made",
        __base__=Contract,
        __module__=__name__,
        __cls_kwargs__={"name": "made", "version": 1},
        t=(Annotated[int, EVENT_TIME], ...),
        **{name: (annotation, default)},
        **attributes,
    )


def field_of(annotation: Any) -> ContractField:
    return contract_fields(define(annotation))[1]


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[str, StringConstraints(pattern="^[A-Z]+$", min_length=1, max_length=3)],
        Annotated[str, Field(pattern="^[A-Z]+$", min_length=1, max_length=3)],
        Annotated[str, Field(pattern="^[A-Z]+$", strict=True), annotated_types.Len(1, 3)],
        Annotated[StrictStr, Field(pattern="^[A-Z]+$", min_length=1), annotated_types.MaxLen(3)],
    ],
)
def test_one_rule_in_pydantics_several_notations_is_one_rule(annotation: Any) -> None:
    wanted = ContractField(name="x", type="string", min_length=1, max_length=3, pattern="^[A-Z]+$")
    assert field_of(annotation) == wanted


def test_bounds_may_be_written_as_pydantics_types_and_intervals() -> None:
    assert field_of(PositiveInt) == ContractField(name="x", type="long", minimum=0, minimum_exclusive=True)
    assert field_of(Annotated[int, annotated_types.Interval(ge=1, lt=5)]) == ContractField(
        name="x", type="long", minimum=1, maximum=5, maximum_exclusive=True
    )


def test_an_alias_is_a_place_and_the_instance_has_the_columns_name() -> None:
    made = define(Annotated[int, Field(ge=1)], Field(alias="position.x"))
    assert contract_fields(made)[1] == ContractField(name="x", type="long", minimum=1, at=("position.x",))
    assert made(t=EARLIEST_MS, x=5).model_dump() == {"t": EARLIEST_MS, "x": 5}

    class Later(made, name="made", version=2):  # type: ignore[valid-type, misc]
        y: int | None = None

    assert contract_fields(Later)[1].at == ("position.x",)


def test_an_alias_of_a_list_is_a_name_as_it_is() -> None:
    for alias in ("tags", "tags[]", "a.b", "x[].y"):
        field = contract_fields(define(list[str], Field(alias=alias)))[1]
        assert (field.at, field.each) == ((alias,), None)


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        (int, Field(alias="X", validation_alias="Y"), "Made.x: alias= is not supported in a contract; use it alone"),
        (Annotated[int, At("y")], Field(alias="X"), "Made.x: alias= is not supported in a contract; use it alone"),
        (int, Field(validation_alias="X"), "Made.x: validation_alias= is not supported in a contract; use alias= or"),
        (int, Field(serialization_alias="X"), "Made.x: serialization_alias="),
        (int, Field(default_factory=int), "Made.x: default_factory= is not supported in a contract; use a constant"),
        (int, Field(exclude=True), "Made.x: exclude="),
        (int, Field(frozen=True), "Made.x: frozen="),
        (int, Field(1, validate_default=True), "Made.x: validate_default="),
        (int, Field(deprecated=True), "Made.x: deprecated="),
        (int, Field(strict=False), "Strict(strict=False) is not supported"),
        (float, Field(allow_inf_nan=True), "allow_inf_nan=True"),
        (int, Field(multiple_of=5), "MultipleOf(multiple_of=5) is not supported"),
        (str, Field(pattern=re.compile("a", re.IGNORECASE)), "pattern (as text)"),
        (str, Field(pattern=r"^\d+$"), r"Made.x: pattern '^\\d+$' is not supported: readers would not all match"),
        (Annotated[str, StringConstraints(strip_whitespace=True)], ..., "strip_whitespace=True"),
        (Annotated[str, StringConstraints(to_lower=True)], ..., "to_lower=True"),
        (Annotated[int, AfterValidator(abs)], ..., "AfterValidator"),
        (Annotated[int, BeforeValidator(int)], ..., "BeforeValidator"),
        (Annotated[int, PlainSerializer(str)], ..., "PlainSerializer"),
        (Annotated[int, annotated_types.Predicate(bool)], ..., "Predicate"),
        (Annotated[int, annotated_types.Ge(0), annotated_types.Ge(5)], ..., "Made.x: minimum is given twice"),
        (Annotated[int, Field(ge=0, gt=5)], ..., "Made.x: minimum is given twice"),
        (Annotated[float, Field(le=float("inf"))], ..., "a bound is a finite int or float"),
        (Annotated[Literal["a"], Field(max_length=1)], ..., "does not fit the field's type"),
        (Annotated[str, PII_HASH] | None, ..., "write Annotated around the whole type"),
        (bytes, ..., "use str, int, float, bool or Literal of strings"),
        (int | str, ..., "a field is one type"),
        (Literal["a", 1], ..., "use str, int, float, bool or Literal of strings"),
        (int, None, "the default None breaks the field's rules"),
        (Annotated[int, Field(ge=5)], 3, "the default 3 breaks the field's rules"),
        (int, 2**63, "the default: integer does not fit 64 bits"),
        (
            Annotated[str, PII_HASH, PII_DROP],
            ...,
            "Made.x: give either PII_HASH or PII_DROP, once, not PII_HASH, PII_D",
        ),
        (
            Annotated[str, PII_HASH, PII_HASH],
            ...,
            "Made.x: give either PII_HASH or PII_DROP, once, not PII_HASH, PII_H",
        ),
        (Annotated[str, ENTITY, ENTITY], ..., "Made.x: ENTITY is given twice"),
        (Annotated[int, Field(ge=5, le=3)], ..., "contract made: no value of x is within its bounds (5 to 3)"),
        (Annotated[int, Field(gt=5, lt=6)], ..., "contract made: no value of x is within its bounds (5 to 6)"),
        (Annotated[float, Field(ge=5, lt=5)], ..., "contract made: no value of x is within its bounds (5 to 5)"),
        (Annotated[int, Field(gt=2**63 - 1)], ..., "contract made: no value of x is within its bounds"),
        (Annotated[str, EVENT_ID, Field(max_length=0)], ..., "contract made: event id x can only be empty"),
        (Annotated[int, At("")], ..., "Made.x: At(path='') must have 1 to 20 names, none of them empty"),
        (Annotated[int, At("a..b")], ..., "none of them empty"),
        (Annotated[int, At(("a",) * 21)], ..., "must have 1 to 20 names"),
        (Annotated[int, At("a"), At("b")], ..., "Made.x: two markers say where it is"),
        (Annotated[int, SECONDS, ISO8601], ..., "Made.x: two markers say how it is written"),
        (Annotated[str, DATE, AsDecimal(2)], ..., "Made.x: two markers say how it is written"),
        (Annotated[str, ISO8601], ..., "iso8601 is int: the column has epoch milliseconds, however producers write"),
        (Annotated[float, DATE], ..., "Made.x: the type of a field that is written as date is str or int"),
        (Annotated[Literal["a"], UUID], ..., "Made.x: the type of a field that is written as uuid is str"),
        (Annotated[int | None, DATE], 3, "Made.x: a field that is written as date can only have the default None"),
        (Annotated[str, AsDecimal(-1)], ..., "needs 0 <= scale <= precision <= 38"),
        (Annotated[str, AsDecimal(3, 2)], ..., "needs 0 <= scale <= precision <= 38"),
        (Annotated[str, AsDecimal(2, 39)], ..., "needs 0 <= scale <= precision <= 38"),
        (Annotated[str, Otherwise("a")], ..., "is for a Literal that has this value"),
        (Annotated[Literal["a"], Otherwise("b")], ..., "is for a Literal that has this value"),
        (
            Annotated[str, At("t.x")],
            ...,
            "contract made: x is at t.x, and so is t; a place in the event is one field's",
        ),
        (Annotated[str, At("t")], ..., "contract made: x is at t, and so is t"),
        # What pydantic itself would refuse without naming the field.
        (Annotated[str, Field(pattern="(")], ..., "Made.x: pattern '(' is not supported: a group does not end"),
        (
            Annotated[str, Field(pattern="[z-a]")],
            ...,
            "Made.x: pydantic refuses the field's rules: error: invalid char",
        ),
        (
            Annotated[str, Field(pattern="a{2,1}")],
            ...,
            "Made.x: pydantic refuses the field's rules: error: invalid rep",
        ),
        (Annotated[str, Field(max_length=-1)], ..., "Made.x: a length is a whole number from 0 to 2147483647, not -1"),
        (
            Annotated[str, Field(min_length=1.5)],
            ...,
            "Made.x: a length is a whole number from 0 to 2147483647, not 1.5",
        ),
        (Annotated[int, Field(ge="a")], ..., "Made.x: a bound is a finite int or float, not 'a'"),
        (Annotated[int, Field(ge=0.5)], ..., "Made.x: the bound of an int is a whole number of 64 bits, not 0.5"),
        (Annotated[int, Field(le=2**63)], ..., "Made.x: the bound of an int is a whole number of 64 bits"),
        (Annotated[float, Field(ge=10**400)], ..., "Made.x: the bound of a float must fit a double"),
        (list, ..., "Made.x: type <class 'list'> is not supported; use str, int, float, bool or Literal of strings"),
        (dict[str, str], ..., "Made.x: type dict[str, str] is not supported"),
        (list[bytes], ..., "is not supported as an element of a list; use str, int, float, bool or Literal"),
        (list[list[str]], ..., "Made.x: type list[str] is not supported as an element of a list"),
        (list[str | int], ..., "Made.x: a field is one type, or one type | None"),
        (list[Annotated[str, Field(description="y")]], ..., "Made.x: description= belongs beside the list"),
        (list[Annotated[str, Field(ge=1)]], ..., "does not fit the field's type"),
        (list[Annotated[str, At("y")]], ..., "is not supported in a contract; use ge"),
        (
            Annotated[list[int], Field(ge=1)],
            ...,
            "does not fit the field's type; a list has max_length, and its elements'",
        ),
        (Annotated[list[str], Field(min_length=1)], ..., "does not fit the field's type; a list has max_length"),
        (Annotated[list[str], Field(max_length=0)], ..., "Made.x: max_length of a list is from 1 to 10000"),
        (Annotated[list[str], Field(max_length=10_001)], ..., "Made.x: max_length of a list is from 1 to 10000"),
        (Annotated[list[int], PII_HASH], ..., "only str fields can be PII"),
        (Annotated[list[str], ENTITY], ..., "contract made: list x cannot be an entity"),
        (Annotated[list[str], EVENT_ID], ..., "contract made: event id x must be str"),
        (list[str], [], "Made.x: a list can only have the default None, with | None as its type"),
        (list[str], None, "the default None breaks the field's rules"),
        (list[Annotated[int, Field(ge=5, le=3)]], ..., "contract made: no value of x is within its bounds (5 to 3)"),
        (Annotated[list[str], At("a[].b[].c")], ..., "goes through 2 arrays; the way to a list goes through one"),
        (Annotated[list[str], At("t[].c")], ..., "contract made: x is at t[].c, and so is t; a place in"),
        (Annotated[list[str], ISO8601], ..., "iso8601 is int: the column has epoch milliseconds"),
    ],
    ids=str,
)
def test_what_the_readers_would_not_treat_alike_is_refused_when_the_class_is_created(
    annotation: Any, default: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        define(annotation, default)


def test_a_place_is_not_an_array_for_one_field_and_an_object_for_another() -> None:
    with pytest.raises(TypeError, match="contract both: o is an object for one of y and x, and an array for the other"):

        class Both(Contract, name="both", version=1):
            t: Annotated[int, EVENT_TIME]
            x: Annotated[list[str], At("o[].x")]
            y: Annotated[str, At("o.y")]


def test_elements_that_may_be_null_are_written_within_their_rules_or_beside_them() -> None:
    wanted = ContractField(
        name="x", type="string[]", max_length=3, max_elements=100, nullable_elements=True, nullable=True
    )
    assert field_of(list[Annotated[str | None, Field(max_length=3)]] | None) == wanted
    assert field_of(list[Annotated[str, Field(max_length=3)] | None] | None) == wanted


def test_a_list_of_a_contract_that_inherits_it_is_the_same() -> None:
    class Base(Contract, name="base", version=1):
        t: Annotated[int, EVENT_TIME]
        x: Annotated[list[str | None], At("items[].x")]

    class Made(Base, name="made", version=1):
        y: int

    assert contract_fields(Made)[1] == contract_fields(Base)[1]
    assert contract_fields(Base)[1].nullable_elements
    with pytest.raises(ValidationError, match="valid string"):
        Base(t=EARLIEST_MS, x=["a", None])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "../../evil"}, "name is '../../evil'"),
        ({"name": ""}, "must be letters, digits and _"),
        ({"name": "a b"}, "must be letters, digits and _"),
        ({"version": "1"}, "an integer from 1 on"),
        ({"version": 0}, "an integer from 1 on"),
        ({"version": True}, "an integer from 1 on"),
        ({"version": 1.5}, "an integer from 1 on"),
        ({"compatibility": "full"}, "one of BACKWARD, FORWARD, FULL, NONE"),
    ],
)
def test_a_wrong_name_version_or_compatibility_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):

        class Wrong(Contract, **({"name": "wrong", "version": 1} | arguments)):
            """A contract."""

            time: Annotated[int, EVENT_TIME]


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ({"max_length": 2**31}, "a length is a whole number from 0 to 2147483647"),
        ({"min_length": 5, "max_length": 2}, "min_length of text is greater"),
    ],
)
def test_lengths_that_no_text_can_have_are_refused(lengths: dict[str, int], says: str) -> None:
    with pytest.raises(TypeError, match=says):

        class Wrong(Contract, name="wrong", version=1):
            """A contract."""

            time: Annotated[int, EVENT_TIME]
            text: Annotated[str, Field(**lengths)]


@pytest.mark.parametrize("name", ["contract_name", "contract_version", "compatibility", "model_dump", "model_validate"])
@pytest.mark.parametrize("default", [..., 3])
def test_a_field_called_like_an_attribute_of_contracts_is_refused(name: str, default: Any) -> None:
    with pytest.raises(TypeError, match=rf"Made.{name}: a contract has an attribute of this name itself"):
        define(int, default, name=name)


def test_an_event_time_that_must_be_before_2000_is_refused() -> None:
    with pytest.raises(TypeError, match="no value of t is within its bounds"):

        class Wrong(Contract, name="wrong", version=1):
            """A contract."""

            t: Annotated[int, EVENT_TIME, Field(lt=EARLIEST_MS)]


@given(*(st.none() | st.integers(-3, 3) for _ in range(2)), *(st.booleans() for _ in range(2)))
def test_bounds_of_whole_numbers_are_refused_exactly_if_no_number_is_within_them(
    low: int | None, high: int | None, low_exclusive: bool, high_exclusive: bool
) -> None:
    within = any(
        (low is None or low < value or (low == value and not low_exclusive))
        and (high is None or value < high or (value == high and not high_exclusive))
        for value in range(-5, 6)
    )
    assert has_values("long", low, low_exclusive, high, high_exclusive) == within


def test_between_two_neighbouring_doubles_there_is_none() -> None:
    assert not has_values("double", 1.0, True, math.nextafter(1.0, 2), True)
    assert has_values("double", 1.0, True, math.nextafter(1.0, 2), False)
    assert not has_values("double", 2**53 + 1, False, 2**53 + 1, False)
    assert not has_values("double", sys.float_info.max, True, None, False)


def test_a_field_whose_name_no_avro_record_can_have_is_refused() -> None:
    with pytest.raises(TypeError, match="a field's name consists of"):
        define(int, name="größe")


@pytest.mark.parametrize(
    "setting",
    [
        ConfigDict(str_strip_whitespace=True),
        ConfigDict(strict=False),
        ConfigDict(extra="forbid"),
        ConfigDict(alias_generator=str.upper),
        ConfigDict(regex_engine="python-re"),
    ],
    ids=str,
)
def test_a_config_of_its_own_is_refused(setting: ConfigDict) -> None:
    with pytest.raises(TypeError, match=re.escape(f"model_config {list(setting)} is not")):

        class Made(Contract, name="made", version=1):
            model_config = setting
            t: Annotated[int, EVENT_TIME]


def with_field_validator() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]

        @field_validator("t")
        @classmethod
        def check(cls, value: int) -> int:
            return value


def with_model_validator() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]

        @model_validator(mode="after")
        def check(self) -> Self:
            return self


def with_computed_field() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]

        @computed_field  # type: ignore[prop-decorator]
        @property
        def check(self) -> int:
            return 1


def with_serializers() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]

        @field_serializer("t")
        def check(self, value: int) -> str:
            return str(value)


def with_model_serializer() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]

        @model_serializer
        def check(self) -> dict[str, Any]:
            return {}


def with_private_attribute() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]
        _check: int = PrivateAttr(1)


def with_post_init() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]

        def model_post_init(self, context: Any, /) -> None:
            """Would be called by pydantic only."""


def with_a_mixin() -> None:
    class Mixin(BaseModel):
        @field_validator("*")
        @classmethod
        def check(cls, value: int) -> int:
            return value

    class Made(Mixin, Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_field_validator, "check is one of pydantic's field_validators"),
        (with_model_validator, "check is one of pydantic's model_validators"),
        (with_computed_field, "check is one of pydantic's computed_fields"),
        (with_serializers, "check is one of pydantic's field_serializers"),
        (with_model_serializer, "check is one of pydantic's model_serializers"),
        (with_private_attribute, "private attributes"),
        (with_post_init, "cannot define model_post_init anew"),
        (with_a_mixin, "check is one of pydantic's field_validators"),
    ],
)
def test_code_that_pydantic_would_run_and_the_kernel_would_not_is_refused(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_a_contract_may_have_methods_of_its_own_and_describe_its_fields() -> None:
    class Made(Contract, name="made", version=1):
        t: Annotated[int, EVENT_TIME]
        x: int = Field(1, title="X", description="a number", examples=[1])

        def twice(self) -> int:
            return self.x * 2

    assert Made(t=EARLIEST_MS).twice() == 2


class Tap(Contract, name="tap", version=1):
    id: Annotated[str, EVENT_ID]
    t: Annotated[int, EVENT_TIME]


class OldTap(Contract, name="old_tap", version=1):
    t: Annotated[int, EVENT_TIME, Field(ge=-1000)]


def test_an_empty_event_id_is_refused() -> None:
    with pytest.raises(ValidationError, match="id: an event id must not be empty"):
        Tap(id="", t=EARLIEST_MS)


@pytest.mark.parametrize(("time", "says"), [(EARLIEST_MS - 1, "before 2000-01-01"), (1_700_000_000, "like seconds")])
def test_an_event_time_before_2000_is_refused(time: int, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Tap(id="1", t=time)


def test_a_contract_may_set_another_earliest_event_time() -> None:
    assert OldTap(t=-1000).t == -1000
    with pytest.raises(ValidationError, match="greater than or equal to -1000"):
        OldTap(t=-1001)
