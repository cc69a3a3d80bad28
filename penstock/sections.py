"""The sections of :class:`penstock.settings.Settings`: one for each backend, and one for the key of personal data."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess, PasswordLogin, TokenLogin
from penstock.paths import DEFAULT_HOME
from penstock.tls import Tls
from penstock.triton import TritonAccess


class Section(BaseModel):
    """Settings that belong together: variables ``PENSTOCK_<SECTION>_<NAME>``, or a table of the configuration file.

    A secret is a field of type ``SecretStr | None`` next to a field ``<name>_file``, the path of a file that holds it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True)
    section: ClassVar[str]

    def secret(self, name: str) -> SecretStr | None:
        """A secret from the environment, or else from its file; None if neither is set.

        Raises:
            PenstockError: if the file cannot be read, or others than its owner and group may read it.
        """
        value: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        if value is not None or path is None:
            return value
        try:
            with path.open(encoding="utf-8") as file:
                _refuse_if_open_to_others(f"{self.section}.{name}", path, os.fstat(file.fileno()).st_mode)
                return SecretStr(file.read().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise PenstockError(
                f"{self.section}.{name} cannot be read from its file: {error}", where=str(path)
            ) from None

    def _is_set(self, name: str) -> bool:
        return getattr(self, name) is not None or getattr(self, f"{name}_file", None) is not None

    def _named(self, names: Sequence[str]) -> str:
        return " and ".join(f"{self.section}.{name}" for name in names)

    def _refuse_credentials_in(self, name: str) -> None:
        refuse_credentials(f"{self.section}.{name}", getattr(self, name), self.section)

    def _contradiction(self, what: str, remedy: str) -> PenstockError:
        return contradiction(what, remedy, self.section)


class Backend(Section):
    """A server with an address and optional TLS; it has the fields of :class:`penstock.tls.Tls`."""

    enable_tls: ClassVar[str]
    """The setting that enables TLS, for the next step of an error."""

    @property
    def encrypts(self) -> bool:
        """Whether connections are encrypted."""
        raise NotImplementedError

    @property
    def encryption(self) -> Tls | None:
        """The TLS files of its connections; None if they are not encrypted."""
        return Tls(**{name: getattr(self, name) for name in Tls.model_fields}) if self.encrypts else None

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        files = [name for name in Tls.model_fields if self._is_set(name)]
        if files and not self.encrypts:
            raise self._contradiction(
                f"{self._named(files)} would not be used: the connection is not encrypted", f"set {self.enable_tls}"
            )
        if self._is_set("certificate_file") != self._is_set("key_file"):
            names = self._named(["certificate_file", "key_file"])
            raise self._contradiction(f"one of {names} is set without the other", "set both")
        return self


class KafkaSettings(Backend):
    """Settings of all Kafka clients."""

    section = "kafka"
    enable_tls = "kafka.security_protocol to SSL or SASL_SSL"

    bootstrap: str = Field("127.0.0.1:19092", description="Kafka bootstrap servers, comma separated")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="whether Kafka connections use encryption (SSL) and authentication (SASL)"
    )
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"] | None = Field(
        None,
        description="user name and password (SCRAM, PLAIN), or tokens of an OpenID provider (OAUTHBEARER)",
    )
    username: str | None = Field(None, description="Kafka user name, for SCRAM and PLAIN")
    password: SecretStr | None = Field(None, description="Kafka password, for SCRAM and PLAIN")
    password_file: Path | None = Field(None, description="file with the Kafka password")
    token_url: str | None = Field(None, description="token endpoint of the OpenID provider, for OAUTHBEARER")
    client_id: str | None = Field(None, description="client id at the OpenID provider")
    client_secret: SecretStr | None = Field(None, description="client secret at the OpenID provider")
    client_secret_file: Path | None = Field(None, description="file with the client secret")
    scope: str | None = Field(None, description="scope of the token, if the OpenID provider requires one")
    ca_file: Path | None = Field(None, description="CA certificates for the brokers; default: the system's")
    certificate_file: Path | None = Field(None, description="client certificate, if brokers require one")
    key_file: Path | None = Field(None, description="private key of the client certificate, PKCS#8")

    @property
    def access(self) -> KafkaAccess:
        """How Kafka clients of this process connect.

        Raises:
            PenstockError: if a file with a secret cannot be read.
        """
        return KafkaAccess(bootstrap=self.bootstrap, tls=self.encryption, login=self._login())

    @property
    def encrypts(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    # _check_login has checked that the required fields are set.
    def _login(self) -> PasswordLogin | TokenLogin | None:
        if self.sasl_mechanism is None:
            return None
        if self.sasl_mechanism == "OAUTHBEARER":
            secret = self.secret("client_secret")
            assert self.token_url is not None
            assert self.client_id is not None
            assert secret is not None
            return TokenLogin(
                token_url=self.token_url, client_id=self.client_id, client_secret=secret, scope=self.scope
            )
        password = self.secret("password")
        assert self.username is not None
        assert password is not None
        return PasswordLogin(mechanism=self.sasl_mechanism, username=self.username, password=password)

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        if protocol.startswith("SASL") != (mechanism is not None):
            raise self._contradiction(
                f"kafka.security_protocol is {protocol}, kafka.sasl_mechanism is {mechanism or 'not set'}",
                "set a mechanism if and only if the protocol is SASL_SSL or SASL_PLAINTEXT",
            )
        password, token = ("username", "password"), ("token_url", "client_id", "client_secret")
        needed: Sequence[str] = () if mechanism is None else token if mechanism == "OAUTHBEARER" else password
        missing = [name for name in needed if not self._is_set(name)]
        if missing:
            raise self._contradiction(
                f"{mechanism} needs {self._named(missing)}", "set them; for a secret, name a file with <name>_file"
            )
        optional = ("scope",) if mechanism == "OAUTHBEARER" else ()
        idle = [n for n in (*password, *token, "scope") if self._is_set(n) and n not in (*needed, *optional)]
        if idle:
            raise self._contradiction(
                f"{self._named(idle)} would not be used: kafka.sasl_mechanism is {mechanism or 'not set'}",
                "set the mechanism that uses them, or remove them",
            )
        self._refuse_credentials_in("token_url")
        return self


class RedisSettings(Backend):
    """Redis, the online store."""

    section = "redis"
    enable_tls = "redis.url to rediss://..."

    url: str = Field("redis://127.0.0.1:16379/0", description="URL of Redis, the online store; rediss:// for TLS")
    username: str | None = Field(None, description="Redis ACL user; default: Redis's user `default`")
    password: SecretStr | None = Field(None, description="password of the Redis user")
    password_file: Path | None = Field(None, description="file with the Redis password")
    ca_file: Path | None = Field(None, description="CA certificates for Redis; default: the system's")
    certificate_file: Path | None = Field(None, description="client certificate, if Redis requires one")
    key_file: Path | None = Field(None, description="private key of the client certificate")

    @property
    def encrypts(self) -> bool:
        """Whether connections are encrypted."""
        return urlsplit(self.url).scheme == "rediss"

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        self._refuse_credentials_in("url")
        if self.username is not None and not self._is_set("password"):
            raise self._contradiction("redis.username is set without redis.password", "set redis.password_file")
        return self


class CassandraSettings(Backend):
    """Cassandra, the store of history."""

    section = "cassandra"
    enable_tls = "cassandra.tls to true"

    contact_points: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1",), description="Cassandra hosts, comma separated"
    )
    port: int = Field(19042, description="Cassandra's client port")
    keyspace: str = Field("penstock", pattern=r"^[a-z][a-z0-9_]{0,47}$", description="Cassandra keyspace")
    username: str | None = Field(None, description="Cassandra role; default: none")
    password: SecretStr | None = Field(None, description="password of the Cassandra role")
    password_file: Path | None = Field(None, description="file with the Cassandra password")
    tls: bool = Field(False, description="whether Cassandra connections use TLS")
    ca_file: Path | None = Field(None, description="CA certificates for Cassandra nodes; default: the system's")
    certificate_file: Path | None = Field(None, description="client certificate, if Cassandra nodes require one")
    key_file: Path | None = Field(None, description="private key of the client certificate")

    @property
    def encrypts(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls

    @field_validator("contact_points", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if (self.username is not None) != self._is_set("password"):
            names = self._named(["username", "password"])
            raise self._contradiction(f"one of {names} is set without the other", "set both")
        return self


class TritonSettings(Backend):
    """Triton, which serves models."""

    section = "triton"
    enable_tls = "triton.tls to true"

    grpc: str = Field("127.0.0.1:18001", description="host:port of Triton's gRPC endpoint")
    tls: bool = Field(False, description="whether gRPC connections to Triton use TLS")
    ca_file: Path | None = Field(None, description="CA certificates for Triton; default: gRPC's own list")
    certificate_file: Path | None = Field(None, description="client certificate, if Triton requires one")
    key_file: Path | None = Field(None, description="private key of the client certificate")
    http: str = Field("http://127.0.0.1:18000", description="base URL of Triton's HTTP endpoint")
    metrics: str = Field("http://127.0.0.1:18002/metrics", description="URL of Triton's metrics")

    @property
    def access(self) -> TritonAccess:
        """How gRPC clients of this process connect."""
        return TritonAccess(url=self.grpc, tls=self.encryption)

    @property
    def encrypts(self) -> bool:
        """Whether connections to the gRPC endpoint are encrypted."""
        return self.tls


class FlinkSettings(Section):
    """Flink, and what job submission needs."""

    section = "flink"

    rest: str = Field("http://127.0.0.1:18081", description="base URL of Flink's REST interface")
    conf_dir: Path = Field(
        DEFAULT_HOME / "flink" / "conf", description="Flink's configuration folder for job submission (FLINK_CONF_DIR)"
    )
    state: Path = Field(
        DEFAULT_HOME / "flink",
        description="folder for the logs of job submission and the paths of the latest savepoints",
    )
    home: Path | None = Field(
        None, description="Flink distribution for job submission (FLINK_HOME); default: that of the jobs environment"
    )


class PiiSettings(Section):
    """The key of personal data."""

    section = "pii"

    key: SecretStr | None = Field(None, description="key that hashes personal data")
    key_file: Path | None = Field(None, description="file with the key that hashes personal data")

    def require_key(self) -> SecretStr:
        """The key with which personal data is hashed.

        Raises:
            PenstockError: if neither PENSTOCK_PII_KEY nor PENSTOCK_PII_KEY_FILE is set, or the key is empty.
        """
        key = self.secret("key")
        if key is None or not key.get_secret_value():
            raise PenstockError(
                "the pipeline has personal data, but no key to hash it with is set",
                safe="nothing was read or written",
                next="(umask 077; head -c 32 /dev/urandom | base64 > pii.key); "
                "export PENSTOCK_PII_KEY_FILE=$PWD/pii.key, and keep the file: with another key all entities are new",
            )
        return key


def _refuse_if_open_to_others(name: str, path: Path, mode: int) -> None:
    """Raise if everyone may read or change the file; a group may, as Kubernetes gives a pod's group its secrets."""
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        raise PenstockError(
            f"{name} is a secret, and every user may read or change its file (mode {stat.S_IMODE(mode):04o})",
            where=str(path),
            safe="nothing was read or written",
            next=f"chmod o= {shlex.quote(str(path))}; for a volume of Kubernetes: defaultMode: 0440, and fsGroup",
        )


def refuse_credentials(name: str, url: str | None, section: str = "") -> None:
    """Raise if a URL holds a name or password: URLs are shown in errors and logs."""
    if "@" in urlsplit(url or "").netloc:
        raise contradiction(
            f"{name} contains credentials, and URLs appear in errors and logs",
            "use the settings for user name and password",
            section,
        )


def contradiction(what: str, remedy: str, section: str = "") -> PenstockError:
    """The error for settings that contradict each other."""
    return PenstockError(what, where=source_of(section), safe="nothing was read or written", next=remedy)


def source_of(section: str = "") -> str:
    """Where a user sets the settings of a section; by default the top-level settings."""
    variables, table = (f"PENSTOCK_{section.upper()}_...", f"[{section}] in ") if section else ("PENSTOCK_...", "")
    return f"the environment ({variables}), or {table}the file that PENSTOCK_CONFIG_FILE names"
