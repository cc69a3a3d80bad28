"""Contracts are inferred from the values of rows; what they cannot have is left out, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.playing.values import as_event
from penstock.starting.code import pipeline_code
from penstock.starting.columns import MOST_COLUMNS, Table
from penstock.starting.findings import Column, Findings, Origin, findings_of
from penstock.starting.roles import Answers, decide
from schemas.contract import Contract
from schemas.producer import validated

HUGE = 2**64


def found(rows: Sequence[Mapping[str, Any]], origin: Origin = "json") -> Findings:
    table = Table(is_text=origin == "csv")
    for number, row in enumerate(rows, 1):
        table.add(row, number)
    return findings_of(table, origin)


def column(values: Sequence[Any], origin: Origin = "json", name: str = "x") -> Column | str:
    """The column of these values, or why there is none."""
    findings = found([{name: value} for value in values], origin)
    return findings.columns[0] if findings.columns else findings.left_out[name]


def contract_of(findings: Findings) -> type[Contract]:
    """The contract as the generated code has it."""
    draft = decide(findings, "shop", Answers(), lambda question: question.safe)
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(pipeline_code(draft, "shop", "events.shop", None, "rows"), "shop", "exec", dont_inherit=True), names)
    contract: type[Contract] = names["pipeline"].source.contract
    return contract


@pytest.mark.parametrize(
    ("values", "type_", "nullable", "form"),
    [
        ([1, -(2**63)], "long", False, None),
        ([1, None], "long", True, None),
        ([1, 1.5], "double", False, None),
        ([1.5, HUGE], "double", False, None),
        ([1.5, float("nan")], "double", False, None),
        ([True, False], "boolean", False, None),
        (["a", ""], "string", False, None),
        (["2026-03-01T12:00:00Z"], "long", False, "iso8601"),
        (["2026-03-01T12:00:00Z", "soon"], "string", False, None),
        (["2026-03-01T12:00:00"], "string", False, None),
        ([datetime(2026, 3, 1, tzinfo=UTC)], "long", False, None),
        ([date(2026, 3, 1)], "string", False, "date"),
        ([Decimal("1.50"), Decimal(2)], "double", False, "decimal"),
        ([b"a"], "string", False, "bytes"),
        ([UUID(int=1)], "string", False, "uuid"),
    ],
)
def test_the_values_of_a_field_say_its_type(values: list[Any], type_: str, nullable: bool, form: str | None) -> None:
    one = column(values)
    assert isinstance(one, Column)
    assert (one.type, one.nullable, one.form) == (type_, nullable, form)


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-2"], "long"),
        (["1", ""], "long"),
        (["007", "12"], "string"),
        (["1", "2.5", "1e3"], "double"),
        (["1", "NaN"], "long"),
        (["1", str(HUGE)], "string"),
        (["true", "False"], "boolean"),
        (["true", "1"], "string"),
        (["n/a", "none"], "string"),
        (["1e999"], "string"),
        (["1772366400", "1772366401"], "long"),
    ],
)
def test_the_cells_of_a_csv_say_the_type_of_a_column(values: list[str], type_: str) -> None:
    one = column(values, "csv")
    assert isinstance(one, Column)
    assert one.type == type_


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1, "a"], "its values are of several kinds: an integer (row 1), a text (row 2)"),
        ([True, 1], "its values are of several kinds: a boolean (row 1), an integer (row 2)"),
        ([1, {"a": 1}], "its values are of several kinds: an integer (row 1), an object (row 2)"),
        ([1, HUGE], "row 2 has an integer of more than 64 bits: write it as a text"),
        ([None, None], "it has no value in any row"),
        ([[], []], "it is a list without elements in every row"),
        ([[[1]]], "it is a list of lists"),
        ([[1], "a"], "its values are of several kinds: a list (row 1), a text (row 2)"),
        ([[1, "a"]], "its values are of several kinds: an integer (row 1), a text (row 1)"),
        ([[None]], "it has no value in any row"),
        ([[0] * 10_001], "it is a list of up to 10,001 elements, more than 10,000"),
        ([float("nan")], "none of its values is a number"),
    ],
)
def test_a_field_that_no_contract_can_have_is_left_out_with_the_reason(values: list[Any], reason: str) -> None:
    assert column(values) == reason


def test_elements_of_arrays_are_lists() -> None:
    items = [{"sku": "x", "at": "2026-03-01T12:00:00Z", "price": {"amount": 1}}, {"sku": "y", "parts": [1]}]
    findings = found([{"tags": ["a", None], "items": items, "mails": ["ada@example.org"]}, {"tags": ["b"] * 80}])
    assert [
        (one.name, one.path, one.type, one.form, one.nullable, one.nullable_elements, one.max_elements)
        for one in findings.columns
        if one.is_list
    ] == [
        ("tags", "tags", "string", None, False, True, 160),
        ("items_sku", "items[].sku", "string", None, True, False, None),
        ("items_at", "items[].at", "long", "iso8601", True, True, None),
        ("items_price_amount", "items[].price.amount", "double", None, True, True, None),
        ("mails", "mails", "string", None, True, False, None),
    ]
    assert findings.left_out == {"items[].parts": "it is a list within a list"}
    assert [one.name for one in findings.columns if one.personal] == ["mails"]
    assert not [one for one in findings.columns if one.time]


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (1_772_366_400, "seconds"),
        (1_772_366_400_000, "milliseconds"),
        (1_772_366_400_000_000, "microseconds"),
        (1_772_366_400_000_000_000, "nanoseconds"),
        (42, None),
    ],
)
def test_the_unit_of_a_time_is_known_by_its_size(number: int, form: str | None) -> None:
    one = column([number, number + 1])
    assert isinstance(one, Column)
    assert one.time == form


def test_a_number_that_may_have_a_fraction_is_a_double_though_the_sample_has_none() -> None:
    one = column([1, 2], name="order_amount")
    assert isinstance(one, Column)
    assert one.type == "double"


def test_fields_within_objects_are_columns_with_the_way_to_them() -> None:
    findings = found([{"user": {"id": "a", "user-agent": "x"}}, {"user": None}, {"user.id": "y"}])
    assert [(one.name, one.place, one.nullable) for one in findings.columns] == [
        ("user_id", ("user", "id"), True),
        ("user_user_agent", ("user", "user-agent"), True),
        ("user_id_2", ("user.id",), True),
    ]


def test_no_two_columns_have_a_name_or_a_name_in_avro() -> None:
    findings = found([{"userId": "a", "user_id": "b", "a-b": "c", "a.b": "d", "class": "e", "": "f"}])
    assert [one.name for one in findings.columns] == ["user_id", "user_id_2", "a_b", "class_value"]
    assert findings.left_out == {"a.b": "in Avro it would have the same name as a-b", "": "it has no name"}


def test_times_without_a_zone_of_a_file_that_has_types_are_said_to_be_taken_for_utc() -> None:
    times = [datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 13)]  # noqa: DTZ001 - as pandas writes them
    (note,) = found([{"t": time} for time in times], "parquet").notes
    assert note.startswith("t: its times have no zone and are taken for UTC")
    assert found([{"t": time.replace(tzinfo=UTC)} for time in times], "parquet").notes == ()


def test_values_that_are_no_numbers_are_told_with_their_row() -> None:
    (note,) = found([{"x": 1.5}, {"x": float("inf")}]).notes
    assert note.startswith("x: 1 value of the sample, first in row 2, cannot be read as a number")


def test_a_map_with_ever_new_keys_does_not_fill_the_memory() -> None:
    findings = found([{f"k{number}": 1} for number in range(2 * MOST_COLUMNS)])
    assert len(findings.columns) == MOST_COLUMNS
    assert "only the first" in findings.notes[0]


@pytest.mark.parametrize(
    ("values", "name", "what"),
    [
        (["4111 1111 1111 1111", "5500005555555559"], "x", "card numbers"),
        (["4111111111111112", "1234567890123456"], "x", None),
        (["ada@example.org", "bob@example.org"], "x", "e-mail addresses"),
        (["call", "write to ada@example.org", *["nothing"] * 50], "x", "e-mail addresses"),
        (["192.0.2.1", "2001:db8::1"], "x", "IP addresses"),
        (["1.2.3", "10:20"], "x", None),
        (["DE89370400440532013000"], "x", "account or identity numbers"),
        (["Ada"], "firstName", "names of people"),
        (["Ada"], "product_name", None),
        (["1990-01-01"], "dateOfBirth", "dates of birth"),
    ],
)
def test_personal_data_is_known_by_pattern_or_name(values: list[str], name: str, what: str | None) -> None:
    one = column(values, name=name)
    assert isinstance(one, Column)
    assert (one.personal and one.personal.what) == what


def test_personal_numbers_are_left_out_as_only_texts_can_be_hashed_and_texts_in_a_csv() -> None:
    assert column([4111111111111111]) == "it has card numbers, and only texts can be hashed or dropped"
    assert column([491701234567], name="phone") == "it has phone numbers, and only texts can be hashed or dropped"
    one = column(["4111111111111111"], "csv")
    assert isinstance(one, Column)
    assert one.type == "string"


def test_a_time_of_integers_is_no_card_number_by_chance() -> None:
    one = column([1_772_366_400_002, 1_772_366_400_010])
    assert isinstance(one, Column)
    assert one.time == "milliseconds"


# A text may be a time; and a number without a fraction an integer, if all are.
_OR_WIDER = {
    "long": {"long", "double"},
    "double": {"double", "long"},
    "boolean": {"boolean"},
    "string": {"string", "long"},
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "boolean": st.booleans(),
    "string": _TEXT,
}
_TIMES = st.integers(1_000_000_000_000, 2_000_000_000_000)


@st.composite
def _typed_rows(draw: st.DrawFn) -> tuple[dict[str, str], list[dict[str, Any]]]:
    types = draw(st.dictionaries(_TEXT.filter(lambda text: text not in ("at", "card_id")), st.sampled_from([*_VALUES])))
    row = {name: st.none() | _VALUES[kind] for name, kind in types.items()}
    rows = draw(
        st.lists(
            st.fixed_dictionaries({"at": _TIMES, "card_id": st.text("ab", min_size=1)}, optional=row),
            min_size=1,
            max_size=8,
        )
    )
    return types, rows


@settings(max_examples=60, deadline=None)
@given(_typed_rows())
def test_values_of_a_type_are_of_that_type_or_a_wider_one_and_each_row_fits(
    given_rows: tuple[dict[str, str], list[dict[str, Any]]],
) -> None:
    types, rows = given_rows
    findings = found(rows)
    contract = contract_of(findings)
    for one in findings.columns:
        if one.path in types:
            assert one.type in _OR_WIDER[types[one.path]]
    for row in rows:
        assert validated(as_event(row, contract, is_text=False), contract, "") is not None


@settings(max_examples=60, deadline=None)
@given(_typed_rows())
def test_each_row_of_a_csv_fits_but_those_that_are_told(
    given_rows: tuple[dict[str, str], list[dict[str, Any]]],
) -> None:
    rows = [{k: "" if v is None else str(v) for k, v in row.items()} for row in given_rows[1]]
    findings = found(rows, "csv")
    contract = contract_of(findings)
    if not any(one.bad for one in findings.columns):
        for row in rows:
            assert validated(as_event(row, contract, is_text=True), contract, "") is not None


@pytest.mark.parametrize(
    ("cells", "is_told"),
    [
        (["78,0", "-1.234,50", "12", ""], True),
        (["78,0"] * 30 + ["-"], True),
        (["78,0", "a"], False),
        (["52,13,4"], False),
        (["78.5"], False),
        (["78"], False),
    ],
)
def test_numbers_with_a_decimal_comma_are_told_as_they_are_texts(cells: list[str], is_told: bool) -> None:
    findings = found([{"total": cell} for cell in cells], "csv")
    told = "total: looks like numbers with a decimal comma, first in row 1; taken as text; "
    assert [note.startswith(told) for note in findings.notes] == [True] * is_told


def test_a_text_with_a_comma_of_json_is_meant_as_a_text() -> None:
    assert found([{"total": "78,0"}]).notes == ()
