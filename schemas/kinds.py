"""What a field of a contract is: the type of its column, its roles, and how a personal value is protected."""

from __future__ import annotations

from enum import Enum
from typing import Literal

ColumnType = Literal["string", "long", "double", "boolean"]
ListType = Literal["string[]", "long[]", "double[]", "boolean[]"]
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
