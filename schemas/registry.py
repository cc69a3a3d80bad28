"""Looks up the schemas of Confluent-framed events in a schema registry, with confluent-kafka's client.

A registry is optional: without its URL, events are single-object Avro or JSON.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from penstock.errors import PenstockError
from schemas.avro import has_items_without_bytes, nesting, parse_avro
from schemas.codec import JSON, MAX_JSON_DEPTH, Registry, UnknownSchema, check_depth

_NOT_FOUND = (404, 40403)
_SERVER_ERROR = 500
_UNKNOWN_FOR_S = 30.0
_MAX_UNKNOWN = 1_000
_ASK_AGAIN = 3
_ASK_AGAIN_AFTER_S = 0.25
_MAX_ASKED_AGAIN = 20
"""In ``_UNKNOWN_FOR_S``, so that a flood of garbage does not stop the reader."""
_MOST_FILES = 100
"""That a Protobuf schema refers to."""


class _NotFound(UnknownSchema):
    """The registry has no such id, or its follower that answered does not have it yet."""


class RegistrySchemas:
    """Looks up writer schemas by Confluent id for :func:`schemas.codec.decode_event`; fetches each once.

    A call raises :class:`UnknownSchema` if the registry has no such id, or its schema cannot be read: the event is
    refused. An unknown id is asked for again first, as the node that answers may lag behind the one that registers;
    then it is unknown for half a minute. A call raises PenstockError if the registry cannot be reached: try again.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 10.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._url = registry_client(url, timeout_s), url
        self._clock, self._sleep = clock, sleep
        self._known: dict[int, Any] = {}
        self._unknown: dict[int, float] = {}
        self._asked_again_since, self._asked_again = clock(), 0

    def __call__(self, schema_id: int) -> Any:
        """Return the parsed schema of that id."""
        if schema_id not in self._known:
            since = self._unknown.get(schema_id)
            if since is not None and self._clock() - since < _UNKNOWN_FOR_S:
                raise _NotFound(f"the schema registry has no schema with id {schema_id}")
            try:
                self._known[schema_id] = self._fetch(schema_id)
            except _NotFound:
                self._unknown.pop(schema_id, None)  # so that it is the newest
                self._unknown[schema_id] = self._clock()
                if len(self._unknown) > _MAX_UNKNOWN:
                    del self._unknown[next(iter(self._unknown))]
                raise
        return self._known[schema_id]

    def _fetch(self, schema_id: int) -> Any:
        for _ in range(_ASK_AGAIN):
            try:
                return _fetch(self._client, self._url, schema_id)
            except _NotFound:
                if not self._may_ask_again():
                    raise
                self._sleep(_ASK_AGAIN_AFTER_S)
        return _fetch(self._client, self._url, schema_id)

    def _may_ask_again(self) -> bool:
        if self._clock() - self._asked_again_since > _UNKNOWN_FOR_S:
            self._asked_again_since, self._asked_again = self._clock(), 0
        self._asked_again += 1
        return self._asked_again <= _MAX_ASKED_AGAIN


def registry_schemas(url: str | None) -> Registry | None:
    """Return a lookup in the configured registry, or None if there is none."""
    return None if url is None else RegistrySchemas(url)


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


def register(client: Any, url: str, topic: str, schema: str) -> None:
    """Register an Avro schema for the values of a topic; does nothing if it is.

    Args:
        client: From :func:`registry_client`.
        url: Its address, for messages.
        topic: The topic.
        schema: The schema, as JSON.

    Raises:
        PenstockError: if the registry cannot be reached, or refuses the schema.
    """
    from confluent_kafka.schema_registry import Schema, SchemaRegistryError  # noqa: PLC0415

    subject = f"{topic}-value"
    try:
        client.register_schema_full_response(subject, Schema(schema, "AVRO"), normalize_schemas=False)
    except SchemaRegistryError as error:
        if error.http_status_code >= _SERVER_ERROR:
            raise _unreachable(url, error, "nothing was sent") from error
        raise PenstockError(
            f"the schema registry refuses the schema: {error.error_message}",
            where=f"{url}, subject {subject}",
            safe="nothing was sent",
            next=f"compare it with the registered one: curl {url}/subjects/{subject}/versions/latest",
        ) from error
    except Exception as error:
        raise _unreachable(url, error, "nothing was sent") from error


def _fetch(client: Any, url: str, schema_id: int) -> Any:
    schema = _asked(client.get_schema, schema_id, url=url, schema_id=schema_id)
    if schema.schema_type == "JSON":
        return JSON
    if schema.schema_type == "PROTOBUF":
        # Another client, as this one has kept the schema as text.
        return _protobuf(registry_client(url), url, schema_id)
    if schema.schema_type != "AVRO":
        raise UnknownSchema(f"schema {schema_id} of the registry is {schema.schema_type}, not Avro, JSON or Protobuf")
    if schema.references:
        raise UnknownSchema(f"schema {schema_id} of the registry refers to other schemas")
    try:
        document = json.loads(schema.schema_str)
        check_depth(document)
        parsed = parse_avro(document)
    except Exception as error:
        raise UnknownSchema(f"schema {schema_id} of the registry is not valid Avro ({type(error).__name__})") from error
    # Of one that contains itself, a few bytes would overflow the stack of the Avro library.
    if nesting(parsed) > MAX_JSON_DEPTH:
        raise UnknownSchema(f"schema {schema_id} of the registry contains itself, or nests too deep")
    if has_items_without_bytes(parsed):
        raise UnknownSchema(f"schema {schema_id} of the registry has an array whose items take no bytes")
    return parsed


def _asked(ask: Callable[..., Any], *arguments: Any, url: str, schema_id: int, **more: Any) -> Any:
    """What the registry answers to ``ask``."""
    from confluent_kafka.schema_registry import SchemaRegistryError  # noqa: PLC0415

    try:
        return ask(*arguments, **more)
    except SchemaRegistryError as error:
        if error.http_status_code == 404 or error.error_code in _NOT_FOUND:
            raise _NotFound(f"the schema registry has no schema with id {schema_id}") from error
        raise _unreachable(url, error) from error
    except Exception as error:
        raise _unreachable(url, error) from error


def compiled_file(url: str, schema_id: int) -> bytes:
    """A Protobuf schema as a compiler writes it with all that it imports: a ``FileDescriptorSet``.

    Raises:
        UnknownSchema: if it cannot be read.
        PenstockError: if the registry cannot be reached.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - few registries need it

    content: bytes = FileDescriptorSet(file=_files(registry_client(url), url, schema_id)).SerializeToString()
    return content


def _protobuf(client: Any, url: str, schema_id: int) -> Any:
    from schemas.protobuf import ProtobufSchema  # noqa: PLC0415 - few registries need it

    files = _files(client, url, schema_id)
    try:
        return ProtobufSchema(files)
    except Exception as error:
        raise _no_protobuf(schema_id, error) from error


def _no_protobuf(schema_id: int, error: Exception) -> UnknownSchema:
    return UnknownSchema(
        f"schema {schema_id} of the registry is not a Protobuf schema that can be read ({type(error).__name__})"
    )


def _files(client: Any, url: str, schema_id: int) -> list[Any]:
    """A Protobuf schema: those that it refers to, and its file, in the registry's compiled form."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415 - few registries need it

    from schemas.protobuf import files_of  # noqa: PLC0415

    files: dict[str, Any] = {}

    def read(schema: Any, name: str) -> Any:
        file = FileDescriptorProto.FromString(base64.b64decode(schema.schema_str, validate=True))
        file.name = name
        for reference in schema.references:
            if reference.name not in files:
                if len(files) >= _MOST_FILES:
                    raise ValueError("it refers to too many files")
                files[reference.name] = None  # so that files that import each other end
                found = _asked(
                    client.get_version,
                    reference.subject,
                    reference.version,
                    fmt="serialized",
                    url=url,
                    schema_id=schema_id,
                )
                files[reference.name] = read(found.schema, reference.name)
        return file

    compiled = _asked(client.get_schema, schema_id, fmt="serialized", url=url, schema_id=schema_id)
    try:
        return files_of(files, read(compiled, f"schema {schema_id}"))
    except PenstockError:
        raise
    except Exception as error:
        raise _no_protobuf(schema_id, error) from error


def _unreachable(url: str, error: Exception, safe: str = "no event was refused because of this") -> PenstockError:
    return PenstockError(
        f"the schema registry cannot be reached ({type(error).__name__})",
        where=url,
        safe=safe,
        next="start the registry, or set PENSTOCK_SCHEMA_REGISTRY_URL to its address",
    )
