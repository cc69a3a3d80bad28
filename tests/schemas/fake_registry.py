"""The endpoints of a Confluent schema registry that confluent-kafka's client uses, in memory.

A fake, because no package registry offers a registry server. It tests framing and ids with the real client; it does not
check compatibility as a real registry does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class FakeRegistry:
    """Schemas by id (from 1), and the requests received, in order."""

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.broken = False
        self.url = ""

    def register(self, schema: dict[str, Any]) -> int:
        if schema not in self.schemas:
            self.schemas.append(schema)
        return self.schemas.index(schema) + 1

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.requests.append(f"{method} {path}")
        if self.broken:
            return 500, {"error_code": 50001, "message": "Error in the backend data store"}
        if match := re.match(r"/schemas/ids/(\d+)", path):
            number = int(match[1])
            if not 1 <= number <= len(self.schemas):
                return 404, {"error_code": 40403, "message": "Schema not found"}
            return 200, self._in_format(self.schemas[number - 1], path)
        if method == "GET" and (match := re.match(r"/subjects/([^/]+)/versions/(\d+)", path)):
            # Of this fake, a version of any subject is the schema's id.
            found = self._in_format(self.schemas[int(match[2]) - 1], path)
            return 200, {"id": int(match[2]), "subject": match[1], "version": int(match[2]), **found}
        if match := re.match(r"/subjects/([^/]+)(/versions)?", path):
            number = self.register({"schema": body["schema"], "schemaType": body.get("schemaType", "AVRO")})
            return 200, {"id": number, "subject": match[1], "version": 1, **self.schemas[number - 1]}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    @staticmethod
    def _in_format(schema: dict[str, Any], path: str) -> dict[str, Any]:
        """A Protobuf schema's text or, if the client asks for that, its compiled form, as a real registry has both."""
        if schema.get("schemaType") == "PROTOBUF" and "format=serialized" not in path:
            return schema | {"schema": 'syntax = "proto3";'}
        return schema


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, answer = registry.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
