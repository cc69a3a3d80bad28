"""Confluent framing: the schemas behind its ids, from a schema registry, by confluent-kafka's own client.

A registry is never needed for a first run: without its URL, events are single-object Avro or JSON.
"""

from __future__ import annotations

import json
from typing import Any

from penstock.errors import PenstockError
from schemas.avro import parsed
from schemas.codec import Registry, UnknownSchema

_NOT_FOUND = (404, 40403)


def registry_schemas(url: str, timeout_s: float = 10.0) -> Registry:
    """A lookup of writer schemas by Confluent id, for :func:`schemas.codec.decode_event`; each is asked for once.

    The lookup raises :class:`UnknownSchema` if the registry has no such id, or it is not an Avro schema (a fault of the
    event), and PenstockError if the registry cannot be asked (not a fault of the event: try again).
    """
    client = registry_client(url, timeout_s)
    known: dict[int, Any] = {}

    def lookup(schema_id: int) -> Any:
        if schema_id not in known:
            known[schema_id] = _fetch(client, url, schema_id)
        return known[schema_id]

    return lookup


def registry_client(url: str, timeout_s: float = 10.0) -> Any:
    """confluent-kafka's ``SchemaRegistryClient``.

    Raises:
        PenstockError: if confluent-kafka was installed without its registry client.
    """
    try:
        # Imported on use: its dependencies are wanted only where a registry is.
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415
    except ImportError as error:
        raise PenstockError(
            f"a schema registry is configured, but its client cannot be imported ({error})",
            where=url,
            next="pip install 'confluent-kafka[schemaregistry]'",
        ) from error
    return SchemaRegistryClient({"url": url, "timeout": timeout_s, "max.retries": 2})


def _fetch(client: Any, url: str, schema_id: int) -> Any:
    from confluent_kafka.schema_registry import SchemaRegistryError  # noqa: PLC0415

    try:
        schema = client.get_schema(schema_id)
    except SchemaRegistryError as error:
        if error.http_status_code == 404 or error.error_code in _NOT_FOUND:
            raise UnknownSchema(f"the schema registry has no schema with id {schema_id}") from error
        raise _unreachable(url, error) from error
    except Exception as error:
        raise _unreachable(url, error) from error
    if schema.schema_type != "AVRO":
        raise UnknownSchema(f"schema {schema_id} of the registry is {schema.schema_type}, not Avro")
    try:
        return parsed(json.loads(schema.schema_str))
    except Exception as error:
        raise UnknownSchema(f"schema {schema_id} of the registry is not valid Avro ({type(error).__name__})") from error


def _unreachable(url: str, error: Exception) -> PenstockError:
    return PenstockError(
        f"the schema registry cannot be asked ({type(error).__name__})",
        where=url,
        safe="no event was refused for it",
        next="start it, or set PENSTOCK_SCHEMA_REGISTRY_URL to where it is",
    )
