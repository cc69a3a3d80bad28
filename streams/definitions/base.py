"""The base of all definitions: the immutable model, and the types of names and SQL texts."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TEXT = re.compile(r"'(?:[^']|'')*'")
# 1 / 3.0 is a DECIMAL with six digits in Flink, but a DOUBLE in DuckDB. A literal with an exponent is always a DOUBLE.
_DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\deE])")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: lower-case letters, digits and _, starting with a letter")
    if "__" in name:
        raise ValueError(f"{name!r}: a double underscore is reserved for generated columns")
    return name


def _check_sql(sql: str) -> str:
    decimal = _DECIMAL.search(_TEXT.sub("''", sql))
    if decimal:
        raise ValueError(f"{decimal[0]} in {sql!r}: a decimal literal loses digits in a division; write {decimal[0]}e0")
    return sql


Name = Annotated[str, AfterValidator(_check_name)]
Sql = Annotated[str, AfterValidator(_check_sql)]


class Definition(BaseModel):
    """An immutable value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
