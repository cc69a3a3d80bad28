"""A small OpenID provider: gives signed tokens for client credentials, and the key that they are checked with."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

AUDIENCE = "kafka"


class Provider:
    """Serves ``/token`` and ``/keys`` while the context lasts; every client has the same secret."""

    def __init__(self, secret: str) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        self._secret = secret
        self.tokens_given = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _answer(self, 200, {"keys": [provider._key.as_dict(private=False)]})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                client, _, secret = base64.b64decode(self.headers["Authorization"].split()[1]).decode().partition(":")
                if form["grant_type"] != ["client_credentials"] or secret != provider._secret:
                    _answer(self, 401, {"error": "invalid_client"})
                    return
                _answer(self, 200, provider._token(client))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def keys_url(self) -> str:
        return f"{self.issuer}/keys"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _token(self, client: str) -> dict[str, object]:
        self.tokens_given += 1
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": client, "iat": now, "exp": now + 300, "scope": "kafka"}
        token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self._key)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 300}


def _answer(handler: BaseHTTPRequestHandler, status: int, body: dict[str, object]) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
