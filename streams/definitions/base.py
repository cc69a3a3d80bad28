"""The base of all definitions: the immutable model, and the types of names, topics and SQL texts."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from streams.definitions.sql.parser import parse
from streams.definitions.topics import check_topic

EVENT_TYPE = "event__type"
"""The column with the name of an event's contract, in pipelines with several sources."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def id_prefix(first: str, contract: str, *, triggers: bool, has_id: bool) -> str:
    """What the ids of a source's events begin with in feature records and predictions.

    An impression and its click may have the same id. So the id of an event of another contract than that of the
    pipeline's own source (``first``) begins with its contract's name and a colon: ``click:7f3a``. Events of one
    contract keep their ids, whatever their topic, and so do events without an id of their own, which have that of their
    place.
    """
    return f"{contract}:" if triggers and has_id and contract != first else ""


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: lower-case letters, digits and _, starting with a letter")
    if "__" in name:
        raise ValueError(f"{name!r}: a double underscore is reserved for generated columns")
    return name


def _check_sql(sql: str) -> str:
    parse(sql)
    return sql


Name = Annotated[str, AfterValidator(_check_name)]
Topic = Annotated[str, AfterValidator(check_topic)]
Sql = Annotated[str, AfterValidator(_check_sql)]


class Definition(BaseModel):
    """An immutable value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
