"""Names of columns for the fields of others. Pure."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection

from pydantic import BaseModel

# Of the types of fields, too: a class that has a field of this name could not use them behind it.
_TAKEN = {"contract_name", "contract_version", "compatibility", "str", "int", "float", "bool"}
_TAKEN |= {"from_avro", "from_json_schema", "from_protobuf"}


def snake(text: str) -> str:
    """A name of the letters a to z, digits and single ``_``, which begins with a letter.

    >>> snake("userID"), snake("user-id"), snake("2nd Card"), snake("payload.cardNumber"), snake("@")
    ('user_id', 'user_id', 'n2nd_card', 'payload_card_number', 'field')
    """
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", text)
    name = re.sub("[^a-z0-9]+", "_", words.lower()).strip("_")
    return f"n{name}" if name[:1].isdigit() else name or "field"


def is_taken(name: str) -> bool:
    """Whether Python or the class of contracts uses a name."""
    return keyword.iskeyword(name) or name in _TAKEN or hasattr(BaseModel, name) or name.startswith("model_")


def column_name(place: tuple[str, ...], taken: Collection[str], is_taken: Callable[[str], bool] = is_taken) -> str:
    """The name of the column for a field of the event: a word that is taken gets ``_value``.

    >>> column_name(("class",), ()), column_name(("payload", "cardId"), ()), column_name(("user-id",), ("user_id",))
    ('class_value', 'payload_card_id', 'user_id_2')
    """
    name = snake("_".join(place))
    if is_taken(name):
        name += "_value"
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found
