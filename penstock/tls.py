"""TLS files of a client, for any server."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from penstock.errors import PenstockError


class Tls(BaseModel):
    """Authorities to trust and, where the server asks for it, a client certificate; all files are PEM.

    Args:
        ca_file: Certificates of the trusted authorities; None trusts those of the system.
        certificate_file: The client's certificate, followed by the intermediate ones up to its authority.
        key_file: Its private key, PKCS#8 without a passphrase; protect it with the file's mode.
    """

    model_config = ConfigDict(frozen=True)

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context for clients that use Python's ``ssl``; it checks the server's certificate and host name.

        Raises:
            PenstockError: if a file cannot be read or is not valid.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:  # an ssl.SSLError is one
            raise PenstockError(
                f"a TLS file cannot be used: {error}",
                where=", ".join(str(path) for path in (self.ca_file, self.certificate_file, self.key_file) if path),
                next="make them readable PEM files, and the key the one of the certificate",
            ) from error
        return context


def pem(path: Path) -> str:
    """The text of a PEM file.

    Raises:
        PenstockError: if it cannot be read.
    """
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise PenstockError(f"a TLS file cannot be read: {error}", where=str(path)) from error
