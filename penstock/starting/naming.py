"""Names in the code for what others have named: columns, entities, classes. Pure."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection

from schemas.contract import Contract
from streams.definitions.aggregates.spec import SPECS
from streams.definitions.feature_sql import is_reserved

# Of the types of fields, too: a class that has a field of this name could not use them behind it.
_TAKEN_BY_CONTRACTS = {"contract_name", "contract_version", "compatibility", "str", "int", "float", "bool"}
_TAKEN_BY_CODE = {"pipeline", *(spec.public_name for spec in SPECS.values())}
_OF_KEYS = re.compile(r"_(id|key|number|no|hash|hashed|code|uuid)$")


def snake(text: str) -> str:
    """A name of the letters a to z, digits and single ``_``, which begins with a letter.

    >>> snake("userID"), snake("user-id"), snake("2nd Card"), snake("payload.cardNumber"), snake("@")
    ('user_id', 'user_id', 'n2nd_card', 'payload_card_number', 'field')
    """
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", text)
    name = re.sub("[^a-z0-9]+", "_", words.lower()).strip("_")
    return f"n{name}" if name[:1].isdigit() else name or "field"


def column_name(place: tuple[str, ...], taken: Collection[str]) -> str:
    """The name of the column for a field of the event: a word that Python, SQL or contracts use gets ``_value``.

    >>> column_name(("Position",), ()), column_name(("class",), ()), column_name(("user-id",), ("user_id",))
    ('position', 'class_value', 'user_id_2')
    """
    name = snake("_".join(place))
    if is_taken(name):
        name += "_value"
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def is_taken(name: str) -> bool:
    """Whether a column cannot have this name, or better has another."""
    return (
        keyword.iskeyword(name)
        or keyword.issoftkeyword(name)
        or is_reserved(name)
        or name in _TAKEN_BY_CONTRACTS
        or hasattr(Contract, name)
        or name.startswith("model_")
    )


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
