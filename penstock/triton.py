"""Access to Triton's gRPC endpoint."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from penstock.tls import Tls


class TritonAccess(BaseModel):
    """Address (``host:port``) and TLS of Triton's gRPC endpoint; ``str()`` gives the address."""

    model_config = ConfigDict(frozen=True)

    url: str
    tls: Tls | None = None

    def client(self) -> dict[str, Any]:
        """The arguments of a ``tritonclient.grpc.InferenceServerClient`` for address and TLS."""
        if self.tls is None:
            return {"url": self.url}
        files = {
            "root_certificates": self.tls.ca_file,
            "certificate_chain": self.tls.certificate_file,
            "private_key": self.tls.key_file,
        }
        return {"url": self.url, "ssl": True} | {name: str(path) for name, path in files.items() if path is not None}

    def __str__(self) -> str:
        return self.url
