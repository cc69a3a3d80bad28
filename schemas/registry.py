"""Looks up the schemas of Confluent-framed events in a schema registry, with confluent-kafka's client.

A registry is optional: without its URL, events are single-object Avro or JSON.
"""

from __future__ import annotations

import json
from typing import Any

from penstock.errors import PenstockError
from schemas.avro import parse_avro
from schemas.codec import Registry, UnknownSchema

_NOT_FOUND = (404, 40403)


def registry_schemas(url: str, timeout_s: float = 10.0) -> Registry:
    """Return a lookup of writer schemas by Confluent id for :func:`schemas.codec.decode_event`; it fetches each once.

    The lookup raises :class:`UnknownSchema` if the registry has no such id or its schema is not Avro: the event is
    refused. It raises PenstockError if the registry cannot be reached: try again.
    """
    client = registry_client(url, timeout_s)
    schemas: dict[int, Any] = {}

    def lookup(schema_id: int) -> Any:
        if schema_id not in schemas:
            schemas[schema_id] = _fetch(client, url, schema_id)
        return schemas[schema_id]

    return lookup


def registry_client(url: str, timeout_s: float = 10.0) -> Any:
    """Return confluent-kafka's ``SchemaRegistryClient``.

    Raises:
        PenstockError: if confluent-kafka was installed without its registry client.
    """
    try:
        # Imported here: only installations with a registry need its dependencies.
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
        return parse_avro(json.loads(schema.schema_str))
    except Exception as error:
        raise UnknownSchema(f"schema {schema_id} of the registry is not valid Avro ({type(error).__name__})") from error


def _unreachable(url: str, error: Exception) -> PenstockError:
    return PenstockError(
        f"the schema registry cannot be reached ({type(error).__name__})",
        where=url,
        safe="no event was refused because of this",
        next="start the registry, or set PENSTOCK_SCHEMA_REGISTRY_URL to its address",
    )
