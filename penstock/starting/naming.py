"""Names in the code for what others have named: columns, entities, classes. Pure."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection

from schemas.imported import names
from streams.definitions.aggregates.spec import SPECS
from streams.definitions.feature_sql import is_reserved

_TAKEN_BY_CODE = {"pipeline", *(spec.public_name for spec in SPECS.values())}
_OF_KEYS = re.compile(r"_(id|key|number|no|hash|hashed|code|uuid)$")


def column_name(place: tuple[str, ...], taken: Collection[str]) -> str:
    """The name of the column for a field of the event: a word that Python, SQL or contracts use gets ``_value``.

    >>> column_name(("Position",), ()), column_name(("class",), ()), column_name(("user-id",), ("user_id",))
    ('position', 'class_value', 'user_id_2')
    """
    return names.column_name(place, taken, is_taken)


def is_taken(name: str) -> bool:
    """Whether a column cannot have this name, or better has another."""
    return keyword.issoftkeyword(name) or is_reserved(name) or names.is_taken(name)


def entity_name(column: str) -> str:
    """The name of what a column identifies.

    >>> entity_name("card_id"), entity_name("user_id_hash"), entity_name("count_id"), entity_name("id")
    ('card', 'user', 'count_entity', 'id_entity')
    """
    name = _OF_KEYS.sub("", _OF_KEYS.sub("", column)) or column
    return f"{name}_entity" if keyword.iskeyword(name) or hasattr(builtins, name) or name in _TAKEN_BY_CODE else name


def class_name(name: str) -> str:
    """The name of the contract's class.

    >>> class_name("web_orders")
    'WebOrdersEvent'
    """
    return "".join(word.capitalize() for word in name.split("_")) + "Event"
