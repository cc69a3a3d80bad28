"""What each column is for: event time, event id, entities, personal data; what is not certain is asked. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from penstock.errors import PenstockError
from penstock.starting.findings import MANY_ROWS, Column, Findings
from penstock.starting.naming import entity_name
from penstock.starting.personal import ACCOUNT, CARD, EMAIL, IP, PHONE, Treatment
from penstock.starting.times import USUAL_TIMES, TimeForm
from schemas.envelopes import Debezium

NONE = "none"
_MOST_ENTITIES = 3
_IDS = re.compile(
    r"(.*_)?(event|message|transaction|payment|order|request|impression|click|booking|record)_?(id|uuid)|id|uuid|guid"
)
_ID_LIKE = re.compile(r".*(id|key|uuid|number|no)")
_TIME_LIKE = re.compile(r"(.*_)?(at|time|ts|timestamp|date|datetime)")
_ENTITIES = (
    *("card", "account", "customer", "user", "client", "member", "player", "patient", "driver", "buyer", "seller"),
    *("device", "merchant", "terminal", "machine", "host", "sensor", "vehicle", "aircraft", "store", "shop"),
    *("advertiser", "campaign", "creative", "publisher", "slot", "ip", "session", "product", "item", "sku", "email"),
)
_KEYS_OF_PEOPLE = (EMAIL, CARD, IP, PHONE, ACCOUNT)


@dataclass(frozen=True)
class Question:
    """What is not certain.

    Attributes:
        about: What the answer decides.
        column: The column, if it is about one.
        text: The question.
        options: What can be answered; for entities, any of them.
        safe: What is taken if nobody is asked: it loses no event, and gives nothing personal away.
        option: How to answer on the command line.
    """

    about: Literal["time", "unit", "id", "entities", "personal"]
    text: str
    options: tuple[str, ...]
    safe: str
    option: str
    column: str | None = None


@dataclass(frozen=True)
class Answers:
    """What was said on the command line; columns by their name in code, or by their path in the event."""

    time: str | None = None
    unit: TimeForm | None = None
    id: str | None = None
    entities: tuple[str, ...] = ()
    personal: Mapping[str, Treatment] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A contract to be: its columns, and what they are for.

    Attributes:
        columns: The columns.
        time: The event time, and in which form it is written.
        id: The event's id, if there is one.
        entities: The columns that identify what features are of; events are partitioned by the first.
        personal: What is done to personal columns.
        findings: What it was made of.
    """

    columns: tuple[Column, ...]
    time: str
    unit: TimeForm
    id: str | None
    entities: tuple[str, ...]
    personal: Mapping[str, Treatment]
    findings: Findings

    def column(self, name: str) -> Column:
        """The column of a name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def integer_id(self) -> Column | None:
        """An integer that is called like an event's id, if there is no id: a contract has only texts as ids."""
        if isinstance(self.findings.envelope, Debezium):
            return None
        of_integers = (c for c in self.columns if _is_integer(c) and c.time is None and _IDS.fullmatch(c.name))
        return None if self.id else next(of_integers, None)

    @property
    def possible_id(self) -> Column | None:
        """A text that could be the event's id by its values, if there is no id."""
        if self.id or isinstance(self.findings.envelope, Debezium) or self.findings.rows < MANY_ROWS:
            return None
        others = (*self.entities, *self.personal)
        return next((c for c in self.columns if c.name not in others and _identifies(c)), None)

    @property
    def entity_names(self) -> dict[str, str]:
        """The name of each entity, by its column."""
        names: dict[str, str] = {}
        for column in self.entities:
            name = entity_name(column)
            names[column] = name if name not in names.values() else f"{column}_entity"
        return names


def decide(findings: Findings, name: str, answers: Answers, settle: Callable[[Question], str]) -> Draft:
    """The contract to be.

    Args:
        findings: The columns.
        name: The name of the project.
        answers: What was said.
        settle: Answers a question with one of its options; for entities, several joined by commas.

    Raises:
        PenstockError: if no column can be the event time or an entity, or an answer names none that can.
    """
    time, unit = _time(findings, answers, settle)
    id_ = _id(findings, name, answers, settle, time)
    entities = _entities(findings, answers, settle, {time, id_})
    personal = _personal(findings, answers, settle, id_, entities)
    columns = tuple(_as_text(c, findings) if c.name in (id_, *entities) else c for c in findings.columns)
    columns = tuple(replace(c, nullable=False, default=None) if c.name in (time, id_) else c for c in columns)
    return Draft(columns, time, unit, id_, entities, personal, findings)


def _as_text(column: Column, findings: Findings) -> Column:
    """Ids and entities of a CSV are texts, whatever they look like: nobody counts with them."""
    is_number = findings.origin == "csv" and column.type in ("long", "double")
    return replace(column, type="string", form=None, time=None, bad=0) if is_number else column


def _time(findings: Findings, answers: Answers, settle: Callable[[Question], str]) -> tuple[str, TimeForm]:
    # A message of Protobuf may always be missing; the contract then refuses an event without its time.
    is_protobuf = findings.origin == "protobuf"
    can_be = [c for c in findings.columns if c.time is not None and (is_protobuf or not c.nullable)]
    if findings.rows == 0 and not can_be:
        can_be = [c for c in findings.columns if _is_integer(c) and not c.nullable and _TIME_LIKE.fullmatch(c.name)]
    if answers.time is not None:
        column = _named(findings, answers.time, "--event-time")
        is_integer = _is_integer(column) and column.form is None
        if (column.nullable and not is_protobuf) or not (
            column.time or (is_integer and (answers.unit or findings.rows == 0))
        ):
            raise _no_time(findings, column)
    elif not can_be:
        raise _no_time(findings, None)
    else:
        can_be.sort(key=lambda c: USUAL_TIMES.index(c.name) if c.name in USUAL_TIMES else len(USUAL_TIMES))
        column = can_be[0]
        if len(can_be) > 1:
            question = Question(
                "time",
                "Which column is the time at which an event happened?",
                tuple(c.name for c in can_be),
                column.name,
                "--event-time COLUMN",
            )
            column = _named(findings, settle(question), "--event-time")
    if answers.unit is not None:
        return column.name, answers.unit
    if column.time is None:
        text = f"In which unit is {column.name} written? (The schema does not say.)"
        options = ("milliseconds", "seconds", "microseconds", "nanoseconds")
        # Of times in another unit, the contract refuses each event: none is taken for another time.
        unit = settle(Question("unit", text, options, "milliseconds", "--time-unit UNIT", column.name))
        return column.name, unit  # type: ignore[return-value]
    return column.name, column.time


def _no_time(findings: Findings, column: Column | None) -> PenstockError:
    of = [column] if column else [c for c in findings.columns if c.zoneless or c.time or _TIME_LIKE.fullmatch(c.name)]
    reasons = [f"{c.path} {_why_no_time(c)}" for c in of]
    if column is None:
        left_out = findings.left_out.items()
        reasons += [f"{path}: {reason}" for path, reason in left_out if _TIME_LIKE.fullmatch(path.rpartition(".")[2])]
    return PenstockError(
        "the event time must be a column that has a time in each row: ISO 8601 with a zone, or an integer of seconds, "
        "milli-, micro- or nanoseconds since 1970",
        where="; ".join(reasons) or f"columns: {', '.join(c.path for c in findings.columns)}",
        safe="nothing was written",
        next="write such a column; for a time without a zone, append Z if it is in UTC; then the same command",
    )


def _why_no_time(column: Column) -> str:
    if column.is_list:
        return "is a list"
    if column.zoneless:
        return "has no zone, so that nobody can say when it was"
    if column.nullable:
        return f"is missing or null in {column.lacking or 'some rows'}"
    what = {"long": "has integers that are times in no unit", "double": "has numbers with a fraction"}.get(
        column.type, "has values that are no times"
    )
    return f"{what}, first in {column.timeless}" if column.timeless else what


def _id(findings: Findings, name: str, answers: Answers, settle: Callable[[Question], str], time: str) -> str | None:
    if answers.id == NONE:
        return None
    if answers.id is not None:
        column = _named(findings, answers.id, "--event-id")
        if column.nullable or column.is_empty_seen or not _can_be_text(column, findings) or column.name == time:
            raise PenstockError(
                f"{column.path} cannot be the event id, which is a text in each row, and not the event time",
                safe="nothing was written",
                next=f"name another column, or --event-id {NONE}: then a repeated event counts twice",
            )
        return column.name
    if isinstance(findings.envelope, Debezium):
        return None  # a row keeps its id through all of its changes
    can_be = [
        c
        for c in findings.columns
        if _can_be_text(c, findings)
        and not (c.nullable or c.is_empty_seen or c.personal or c.is_enum)
        and c.name != time
        and (c.is_unique or findings.rows == 0)
        and _ID_LIKE.fullmatch(c.name)
    ]
    own = {f"{name}_id", f"{name.removesuffix('s')}_id"}
    certain = [c for c in can_be if c.name in own] or [c for c in can_be if _IDS.fullmatch(c.name)]
    if len(certain) == 1:
        return certain[0].name
    can_be = certain or [c for c in can_be if findings.rows >= MANY_ROWS]
    if not can_be:
        return None
    options = (*(c.name for c in can_be), NONE)
    text = "Which column is the event's id? A repeated event with the same id counts once."
    # With a wrong id, different events could be taken for one.
    answer = settle(Question("id", text, options, certain[0].name if certain else NONE, "--event-id COLUMN"))
    return None if answer == NONE else answer


def _is_integer(column: Column) -> bool:
    return column.type == "long" and not column.is_list


def _can_be_text(column: Column, findings: Findings) -> bool:
    if column.is_list:
        return False
    return (column.type == "string" and column.form in (None, "uuid")) or (
        findings.origin == "csv" and column.type == "long" and column.form is None
    )


def _identifies(column: Column) -> bool:
    """Whether each row has a text of its own, of one word."""
    if column.type != "string" or column.form not in (None, "uuid") or column.zoneless or column.personal:
        return False
    if column.is_list or column.nullable or not column.is_unique:
        return False
    return column.form == "uuid" or all(value and not re.search(r"\s", value) for value in column.values)


def _entities(
    findings: Findings, answers: Answers, settle: Callable[[Question], str], others: set[str | None]
) -> tuple[str, ...]:
    possible = [c for c in findings.columns if _can_be_key(c) and c.name not in others]
    if answers.entities:
        names = [_named(findings, name, "--entity") for name in answers.entities]
        if wrong := [c for c in names if c not in possible]:
            raise _no_entity(f"{wrong[0].path} cannot be an entity: that is a text or an integer", possible)
        return tuple(dict.fromkeys(c.name for c in names))
    likely = sorted((c for c in possible if _is_likely(c, findings)), key=_rank)
    if not likely:
        raise _no_entity(
            "no column looks like an entity: the card, user or device whose events features count", possible
        )
    names_ = tuple(c.name for c in likely)
    text = "Which columns are entities, whose events features count? Events are partitioned by the first."
    # Of an event without the person, features of a person say nothing; and to hash one is somebody's decision.
    safe = ",".join([c.name for c in likely if not (c.personal and c.nullable)][:_MOST_ENTITIES])
    answer = settle(Question("entities", text, names_, safe, "--entity COLUMN"))
    if not answer:
        raise _no_entity(f"only personal columns that may be null look like an entity: {', '.join(names_)}", possible)
    return tuple(dict.fromkeys(_named(findings, one.strip(), "--entity").name for one in answer.split(",")))


def _no_entity(what: str, possible: Sequence[Column]) -> PenstockError:
    return PenstockError(
        what,
        where=f"columns that can be one: {', '.join(c.name for c in possible) or 'none'}",
        safe="nothing was written",
        next="the same command with --entity COLUMN",
    )


def _can_be_key(column: Column) -> bool:
    if column.is_list:
        return False
    if column.type == "string":
        return column.form in (None, "uuid") and not column.zoneless
    return column.type == "long" and column.time is None and column.form is None


def _is_likely(column: Column, findings: Findings) -> bool:
    if column.personal is not None and column.personal not in _KEYS_OF_PEOPLE:
        return False
    words = column.name.split("_")
    named = column.name.endswith(("_id", "_key", "_hash", "_uuid")) or bool({words[0], words[-1]} & {*_ENTITIES})
    if findings.rows < MANY_ROWS:
        return named
    return named and column.distinct >= 2 and column.distinct * 1.2 <= column.distinct_of


def _rank(column: Column) -> tuple[int, int]:
    """Required ones first, as events are partitioned by the first; then by how usual an entity it is."""
    words = {*column.name.split("_")}
    known = next((i for i, word in enumerate(_ENTITIES) if word in words), len(_ENTITIES))
    return int(column.nullable), known


def _personal(
    findings: Findings,
    answers: Answers,
    settle: Callable[[Question], str],
    id_: str | None,
    entities: tuple[str, ...],
) -> dict[str, Treatment]:
    given = {_named(findings, name, "--personal").name: treatment for name, treatment in answers.personal.items()}
    result: dict[str, Treatment] = {}
    for column in findings.columns:
        treatment = given.get(column.name)
        if treatment is None and column.personal is not None:
            safe = "hash" if column.name in entities or column.is_enum else column.personal.safe
            options = ("hash", "drop", "keep") if column.name not in entities else ("hash", "keep")
            text = f"{column.path} seems to have {column.personal.what}: hash, drop or keep them?"
            option = f"--personal {column.name}={safe}"
            treatment = settle(Question("personal", text, options, safe, option, column.name))  # type: ignore[assignment]
        if treatment is None or treatment == "keep":
            continue
        if column.name == id_ or column.type != "string" or (treatment == "drop" and column.name in entities):
            raise PenstockError(
                f"{column.path} cannot be {'hashed' if treatment == 'hash' else 'dropped'}: only a text can, which is "
                "not the event id; and an entity is never dropped",
                safe="nothing was written",
                next="--event-id or --entity with another column, or --personal COLUMN=hash",
            )
        result[column.name] = treatment
    return result


def _named(findings: Findings, name: str, option: str) -> Column:
    for column in findings.columns:
        if name in (column.name, column.path):
            return column
    reason = findings.left_out.get(name)
    raise PenstockError(
        f"column {name} is left out: {reason}" if reason else f"there is no column {name}",
        where=option,
        safe="nothing was written",
        next=f"name one of {', '.join(c.name for c in findings.columns)}",
    )
