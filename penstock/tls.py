"""An encrypted connection, as a client of any server needs it."""

from __future__ import annotations

import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from penstock.errors import PenstockError


class Tls(BaseModel):
    """Whom to trust and, where the server asks for it, who we are; all files are PEM.

    Args:
        ca_file: Certificates of the authorities that are trusted; None trusts those of the system.
        certificate_file: The client's certificate, then those that lead from it to its authority.
        key_file: Its private key, PKCS#8 without a passphrase: the file's mode protects it.
    """

    model_config = ConfigDict(frozen=True)

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For clients that take Python's own; the server's certificate must be valid and name the host.

        Raises:
            PenstockError: if a file cannot be read or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:  # an ssl.SSLError is one
            raise PenstockError(
                f"a TLS file cannot be used: {error}",
                where=", ".join(str(path) for path in (self.ca_file, self.certificate_file, self.key_file) if path),
                next="they must be readable PEM files, and the key that of the certificate",
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
