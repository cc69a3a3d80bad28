"""What is certain is not asked, what is not is; and the safe answer loses no event and gives nothing personal away."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.starting.columns import Table
from penstock.starting.findings import Findings, findings_of
from penstock.starting.of_schema import findings_of_document
from penstock.starting.roles import Answers, Draft, Question, decide
from penstock.starting.texts import decisions
from tests.penstock.starting.examples import SCHEMA

TIME = 1_772_366_400_000


def rows(count: int = 40, **fields: Any) -> Findings:
    """Orders of ten cards; further fields are values, or functions of the row's number."""
    table = Table()
    for number in range(count):
        more = {name: given(number) if callable(given) else given for name, given in fields.items()}
        table.add({"order_id": f"o{number}", "at": TIME + number, "card_id": f"c{number % 10}"} | more, number + 1)
    return findings_of(table, "json")


def asked(findings: Findings, **answers: Any) -> tuple[Draft, list[Question]]:
    """The draft with what is safe, and the questions on the way."""
    questions: list[Question] = []

    def settle(question: Question) -> str:
        questions.append(question)
        return question.safe

    return decide(findings, "shop", Answers(**answers), settle), questions


def test_only_entities_are_asked_where_all_else_is_certain() -> None:
    draft, questions = asked(rows())
    assert [question.about for question in questions] == ["entities"]
    assert (draft.time, draft.unit, draft.id, draft.entities) == ("at", "milliseconds", "order_id", ("card_id",))


def test_the_likely_one_of_several_times_is_safe() -> None:
    _, (question, *_) = asked(rows(created_at=TIME, event_time=TIME + 5))
    assert (question.about, question.safe, question.options) == (
        "time",
        "event_time",
        ("event_time", "created_at", "at"),
    )


def test_a_column_with_a_repeated_or_missing_value_is_no_event_id() -> None:
    assert asked(rows(order_id=lambda n: f"o{n // 2}"))[0].id is None
    assert asked(rows(order_id=lambda n: f"o{n}" if n else None))[0].id is None


def test_an_integer_that_is_called_like_an_id_is_told_as_ids_are_texts() -> None:
    draft, _ = asked(rows(order_id=lambda n: n))
    assert draft.integer_id is not None
    assert "event id: none (order_id is an integer, and an id is a text), so" in decisions(draft)[1]


def test_an_id_that_is_not_certain_is_not_taken_without_asking() -> None:
    _, (question, *_) = asked(rows(order_id=None, ticket_no=lambda n: f"t{n}"))
    assert (question.about, question.options, question.safe) == ("id", ("ticket_no", "none"), "none")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"ref": lambda n: f"r{n}"}, " (ref has another text in each row: --event-id ref)"),
        ({"ref": lambda n: f"r{n}" if n else None}, ""),
        ({"ref": lambda n: f"r{n // 2}"}, ""),
        ({"ref": lambda n: n}, ""),
        ({"remark": lambda n: f"remark {n}"}, ""),
        ({"email": lambda n: f"p{n}@example.org"}, ""),
    ],
)
def test_a_text_that_could_be_the_id_by_its_values_is_told_with_the_option(fields: dict[str, Any], told: str) -> None:
    draft, _ = asked(rows(order_id=None, **fields))
    assert draft.id is None
    assert decisions(draft)[1] == f"event id: none{told}, so an event that comes twice counts twice"


def test_a_personal_column_that_may_be_null_is_no_entity_without_asking() -> None:
    email: dict[str, Any] = {"email": lambda n: f"p{n % 4}@example.org" if n % 3 else None}
    draft, (question, *_) = asked(rows(**email))
    assert (draft.entities, question.safe, question.options) == (("card_id",), "card_id", ("card_id", "email"))
    with pytest.raises(PenstockError, match="only personal columns that may be null look like an entity: email"):
        asked(rows(card_id=None, **email))
    assert asked(rows(card_id=None, **email), entities=("email",))[0].entities == ("email",)


def test_a_column_of_which_each_value_is_another_is_no_likely_entity() -> None:
    draft, _ = asked(rows(device_id=lambda n: f"d{n}", user_hash=lambda n: f"u{n % 3}", is_web=True))
    assert draft.entities == ("card_id", "user_hash")


def test_a_personal_entity_is_hashed_and_never_dropped() -> None:
    draft, questions = asked(rows(email=lambda n: f"p{n % 4}@example.org", first_name="Ada"))
    assert draft.personal == {"email": "hash", "first_name": "drop"}
    assert [question.options for question in questions[1:]] == [("hash", "keep"), ("hash", "drop", "keep")]


def test_answers_need_no_question() -> None:
    findings = rows(email="a@example.org", created_at=TIME)
    answers = {"time": "created_at", "id": "none", "entities": ("card_id",), "personal": {"email": "keep"}}
    draft, questions = asked(findings, **answers)
    assert questions == []
    assert (draft.time, draft.id, draft.entities, draft.personal) == ("created_at", None, ("card_id",), {})


@pytest.mark.parametrize(
    ("fields", "answers", "message", "where"),
    [
        ({"at": "2026-03-01 12:00:00"}, {}, "the event time must be", "at has no zone, so that nobody can say"),
        (
            {"at": lambda n: TIME if n else None},
            {},
            "the event time must be",
            "at is missing or null in 1 of 40 rows, first in row 1",
        ),
        (
            *({"at": lambda n: "soon" if n % 9 == 2 else "2026-03-01T12:00:00Z"}, {}),
            *("the event time must be", "at has values that are no times, first in row 3"),
        ),
        (
            *({"at": lambda n: None if n % 9 == 2 else "soon" if n % 9 == 3 else TIME}, {}),
            *("the event time must be", "at: its values are of several kinds: an integer (row 1), a text (row 4)"),
        ),
        ({"at": 1.5}, {}, "the event time must be", "at has numbers with a fraction"),
        ({"card_id": 1.5}, {}, "no column looks like an entity", "columns that can be one: order_id"),
        ({}, {"entities": ("cart",)}, "there is no column cart", "--entity"),
        ({"tags": [1]}, {"entities": ("tags",)}, "tags cannot be an entity", "card_id"),
        ({"price": 1.5}, {"entities": ("price",)}, "price cannot be an entity", "card_id"),
        ({"at": [TIME]}, {"time": "at"}, "the event time must be", "at is a list"),
        ({"tags": ["a"]}, {"id": "tags"}, "tags cannot be the event id", None),
        ({"n": 1}, {"id": "n"}, "n cannot be the event id", None),
        ({}, {"personal": {"order_id": "hash"}}, "order_id cannot be hashed", None),
        ({}, {"personal": {"card_id": "drop"}}, "card_id cannot be dropped", None),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    fields: dict[str, Any], answers: dict[str, Any], message: str, where: str | None
) -> None:
    findings = rows(**({"order_id": "o"} | fields if "card_id" in fields else fields))
    with pytest.raises(PenstockError, match=message) as refused:
        asked(findings, **answers)
    assert where is None or where in (refused.value.where or "")
    assert refused.value.safe == "nothing was written"
    assert refused.value.next


def test_one_row_is_enough_where_names_say_what_columns_are() -> None:
    draft, _ = asked(rows(1))
    assert (draft.id, draft.entities) == ("order_id", ("card_id",))


def test_an_avro_schema_says_types_and_times_without_a_row() -> None:
    draft, _ = asked(findings_of_document(SCHEMA, "orders.avsc"))
    assert [(one.name, one.type, one.form, one.nullable) for one in draft.columns] == [
        ("order_id", "string", None, False),
        ("ordered_at", "long", "microseconds", False),
        ("customer_id", "string", None, False),
        ("customer_email", "string", None, True),
        ("amount", "double", "decimal", False),
        ("kind", "string", None, False),
        ("token", "string", "uuid", True),
        ("day", "string", "date", False),
        ("seen", "long", "microseconds", False),
        ("tags", "string", None, False),
        ("lines_at", "long", None, False),
        ("lines_price", "double", "decimal", False),
    ]
    assert draft.findings.left_out == {"either": "it has a union of several types"}


def test_a_schema_without_a_logical_type_makes_the_unit_a_question_with_milliseconds_safe() -> None:
    fields = [{"name": "created_at", "type": "long"}, {"name": "card_id", "type": "string"}]
    draft, (question, *_) = asked(findings_of_document({"type": "record", "name": "A", "fields": fields}, "a"))
    assert (question.about, question.safe, draft.unit) == ("unit", "milliseconds", "milliseconds")


@pytest.mark.parametrize("document", [[], {"type": "enum"}, "string", {"type": "array", "items": "string"}])
def test_a_schema_of_no_record_is_refused(document: Any) -> None:
    with pytest.raises(PenstockError, match="not the Avro schema of a record"):
        findings_of_document(document, "a.avsc")


def test_a_schema_that_contains_itself_ends() -> None:
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "v", "type": "long"}, {"name": "next", "type": "Node"}],
    }
    findings = findings_of_document(
        {"type": "record", "name": "A", "fields": [{"name": "node", "type": node}, {"name": "at", "type": "long"}]}, "a"
    )
    assert [one.path for one in findings.columns] == ["node.v", "at"]
    assert findings.left_out == {"node.next": "it contains itself, or nests too deep"}
