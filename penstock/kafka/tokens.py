"""Gets tokens from an OpenID provider for aiokafka, which, unlike librdkafka and Java, cannot do so itself."""

from __future__ import annotations

import asyncio
import ssl
import time

import httpx
from aiokafka.abc import AbstractTokenProvider

from penstock.errors import PenstockError

_TIMEOUT_S = 10.0
# A token is renewed after this share of its lifetime, as Kafka's own clients do.
_RENEW_AFTER = 0.8
_DEFAULT_LIFE_S = 60.0


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka comes without types
    """Gets tokens for a client id and secret (OAuth 2.0, RFC 6749 section 4.4), and renews them before they expire."""

    def __init__(self, token_url: str, client_id: str, client_secret: str, scope: str | None) -> None:
        self._url = token_url
        self._authentication = httpx.BasicAuth(client_id, client_secret)
        self._form = {"grant_type": "client_credentials", **({} if scope is None else {"scope": scope})}
        self._token = ""
        self._renew_at = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def token(self) -> str:
        """A valid token.

        Raises:
            PenstockError: if the provider does not issue one.
        """
        async with self._one_at_a_time:
            if time.monotonic() >= self._renew_at:
                await self._renew()
        return self._token

    async def _renew(self) -> None:
        try:
            async with httpx.AsyncClient(verify=ssl.create_default_context(), timeout=_TIMEOUT_S) as http:
                answer = await http.post(self._url, data=self._form, auth=self._authentication)
            answer.raise_for_status()
            found = answer.json()
            self._token, life_s = str(found["access_token"]), float(found.get("expires_in", _DEFAULT_LIFE_S))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise PenstockError(
                f"the OpenID provider issued no token: {type(error).__name__}: {error}", where=self._url
            ) from error
        self._renew_at = time.monotonic() + _RENEW_AFTER * life_s
