"""Recognises framings of other schema registries, so that a dead letter can say what is wrong with it.

The job's kernel has the same rules (``Framing.java``).
"""

from __future__ import annotations

from collections.abc import Iterable

_GLUE_HEADER_LENGTH = 18
_APICURIO_HEADER_LENGTH = 9
_ID_HEADERS = {
    "__value_schema_id",
    "apicurio.value.globalId",
    "apicurio.value.contentId",
    "apicurio.value.contentHash",
}


def foreign_framing(value: bytes) -> str | None:
    """What another framing a value has, or None."""
    if len(value) >= _GLUE_HEADER_LENGTH and value[0] == 3 and value[1] in (0, 5):
        return (
            "it looks like AWS Glue's framing (03, compression, 16 bytes of schema version), which is not supported: "
            "send Confluent's framing, single-object Avro or JSON"
        )
    # Confluent's ids begin with 1.
    if len(value) >= _APICURIO_HEADER_LENGTH and value[:5] == bytes(5):
        return (
            "it looks like Apicurio's framing with a schema id of 8 bytes, which is not supported: let the serializer "
            "write ids of 4 bytes, as Confluent's does"
        )
    return None


def id_in_header(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """How an error goes on about a record that has its schema's id in a header; else empty."""
    for name, _ in headers:
        if name in _ID_HEADERS:
            return (
                f"; the record has its schema id in the header {name}, which is not supported: let the serializer "
                "write it before the value"
            )
    return ""
