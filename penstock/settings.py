"""Where the servers are and how to be let in: the one place that reads the environment (prefix PENSTOCK_) or a file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from deploy.local.paths import DEFAULT_HOME, JARS, ROOT
from penstock.errors import PenstockError
from penstock.kafka import KafkaAccess, PasswordLogin, TokenLogin
from penstock.tls import Tls
from penstock.triton import TritonAccess

Part: TypeAlias = Literal["kafka", "redis", "cassandra", "triton"]
CONFIG_FILE = "PENSTOCK_CONFIG_FILE"
SECRETS = ("kafka_password", "kafka_client_secret", "redis_password", "cassandra_password", "pii_key")
"""Settings that are never shown, and never taken from the configuration file; ``<name>_file`` names a file with one."""
_WHERE = f"the environment (PENSTOCK_...), or the file that {CONFIG_FILE} names"


class Settings(BaseSettings):
    """Settings of a Penstock process; the defaults are those of the local stack that `penstock up` starts.

    They come from the environment (``PENSTOCK_<NAME>``) and from the TOML file that PENSTOCK_CONFIG_FILE names; the
    environment wins.

    Raises:
        PenstockError: if a value does not fit, settings contradict each other, or the file cannot be used.
    """

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_", frozen=True, extra="forbid", hide_input_in_errors=True, str_strip_whitespace=True
    )

    kafka_bootstrap: str = Field("127.0.0.1:19092", description="Kafka bootstrap servers, comma separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="whether Kafka's connections are encrypted (SSL) and begin with a login (SASL)"
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"] | None = Field(
        None, description="how to log in: with name and password, or with tokens of an OpenID provider (OAUTHBEARER)"
    )
    kafka_username: str | None = Field(None, description="the name, for SCRAM and PLAIN")
    kafka_password: SecretStr | None = Field(None, description="its password")
    kafka_password_file: Path | None = Field(None, description="a file that holds it")
    kafka_token_url: str | None = Field(None, description="the provider's token endpoint, for OAUTHBEARER")
    kafka_client_id: str | None = Field(None, description="the client's id there")
    kafka_client_secret: SecretStr | None = Field(None, description="the client's secret there")
    kafka_client_secret_file: Path | None = Field(None, description="a file that holds it")
    kafka_scope: str | None = Field(None, description="the scope to ask for, if the provider wants one")
    kafka_ca_file: Path | None = Field(None, description="authorities that sign brokers; by default the system's")
    kafka_certificate_file: Path | None = Field(None, description="the client's certificate, where brokers ask for it")
    kafka_key_file: Path | None = Field(None, description="its private key, PKCS#8")

    redis_url: str = Field("redis://127.0.0.1:16379/0", description="Redis, the online store; rediss:// encrypts")
    redis_username: str | None = Field(None, description="the ACL user; by default Redis's own `default`")
    redis_password: SecretStr | None = Field(None, description="its password")
    redis_password_file: Path | None = Field(None, description="a file that holds it")
    redis_ca_file: Path | None = Field(None, description="authorities that sign Redis; by default the system's")
    redis_certificate_file: Path | None = Field(None, description="the client's certificate, where Redis asks for it")
    redis_key_file: Path | None = Field(None, description="its private key")

    cassandra_contact_points: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1",), description="Cassandra hosts, comma separated"
    )
    cassandra_port: int = Field(19042, description="Cassandra's port for clients")
    cassandra_keyspace: str = Field("penstock", pattern=r"^[a-z][a-z0-9_]{0,47}$", description="the keyspace")
    cassandra_username: str | None = Field(None, description="the role; none by default")
    cassandra_password: SecretStr | None = Field(None, description="its password")
    cassandra_password_file: Path | None = Field(None, description="a file that holds it")
    cassandra_tls: bool = Field(False, description="whether connections are encrypted")
    cassandra_ca_file: Path | None = Field(None, description="authorities that sign nodes; by default the system's")
    cassandra_certificate_file: Path | None = Field(
        None, description="the client's certificate, where nodes ask for it"
    )
    cassandra_key_file: Path | None = Field(None, description="its private key")

    triton_grpc: str = Field("127.0.0.1:18001", description="host:port of Triton's gRPC endpoint")
    triton_tls: bool = Field(False, description="whether its connections are encrypted")
    triton_ca_file: Path | None = Field(None, description="authorities that sign Triton; by default gRPC's own list")
    triton_certificate_file: Path | None = Field(None, description="the client's certificate, where Triton asks for it")
    triton_key_file: Path | None = Field(None, description="its private key")
    triton_http: str = Field("http://127.0.0.1:18000", description="base URL of Triton's HTTP endpoint")
    triton_metrics: str = Field("http://127.0.0.1:18002/metrics", description="Triton's own metrics")
    model_repository: Path = Field(DEFAULT_HOME / "models", description="Triton's model repository")

    flink_rest: str = Field("http://127.0.0.1:18081", description="base URL of the JobManager")
    flink_conf_dir: Path = Field(DEFAULT_HOME / "flink" / "conf", description="FLINK_CONF_DIR of job submission")
    flink_state: Path = Field(
        DEFAULT_HOME / "flink", description="where job submission keeps its logs and where the last savepoints lie"
    )
    flink_home: Path | None = Field(None, description="FLINK_HOME; by default the one in the jobs environment")
    jars: Path = Field(JARS, description="the folder of connector and kernel jars")
    schemas: Path = Field(ROOT / "schemas", description="the committed schemas: what past versions meant")
    schema_registry_url: str | None = Field(None, description="a Confluent schema registry; none by default")
    pii_key: SecretStr | None = Field(None, description="key of the keyed hash of personal data")
    pii_key_file: Path | None = Field(None, description="a file that holds it")
    metrics_host: str = Field("127.0.0.1", description="the address that /metrics endpoints listen on")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except (ValidationError, SettingsError) as error:
            raise _refused(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _file())

    @field_validator("cassandra_contact_points", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _check_kafka(self)
        for part in get_args(Part):
            _check_tls(self, part)
        for name in ("redis_url", "schema_registry_url", "kafka_token_url"):
            if "@" in urlsplit(getattr(self, name) or "").netloc:
                raise _contradiction(
                    f"{name} holds credentials, and is shown", "name and password have their own settings"
                )
        if self.redis_username is not None and not _given(self, "redis_password"):
            raise _contradiction("redis_username is set without redis_password", "set redis_password_file")
        if (self.cassandra_username is not None) != _given(self, "cassandra_password"):
            raise _contradiction(
                "one of cassandra_username and cassandra_password is set without the other", "set both"
            )
        return self

    @property
    def kafka(self) -> KafkaAccess:
        """How Kafka clients of this process connect.

        Raises:
            PenstockError: if a file with a secret cannot be read.
        """
        login: PasswordLogin | TokenLogin | None = None
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            assert self.kafka_token_url is not None
            assert self.kafka_client_id is not None
            login = TokenLogin(
                token_url=self.kafka_token_url,
                client_id=self.kafka_client_id,
                client_secret=_required(self, "kafka_client_secret"),
                scope=self.kafka_scope,
            )
        elif self.kafka_sasl_mechanism is not None:
            assert self.kafka_username is not None
            login = PasswordLogin(
                mechanism=self.kafka_sasl_mechanism,
                username=self.kafka_username,
                password=_required(self, "kafka_password"),
            )
        return KafkaAccess(bootstrap=self.kafka_bootstrap, tls=self.tls("kafka"), login=login)

    @property
    def triton(self) -> TritonAccess:
        """How gRPC clients of this process connect to Triton."""
        return TritonAccess(url=self.triton_grpc, tls=self.tls("triton"))

    def tls(self, part: Part) -> Tls | None:
        """How connections to a part are encrypted; None if they are not."""
        if not self.encrypts(part):
            return None
        return Tls(**{name: getattr(self, f"{part}_{name}") for name in Tls.model_fields})

    def encrypts(self, part: Part) -> bool:
        """Whether connections to a part are encrypted."""
        match part:
            case "kafka":
                return self.kafka_security_protocol.endswith("SSL")
            case "redis":
                return urlsplit(self.redis_url).scheme == "rediss"
            case "cassandra":
                return self.cassandra_tls
            case "triton":
                return self.triton_tls

    def secret(self, name: str) -> SecretStr | None:
        """One of :data:`SECRETS`, from the environment or else from its file; None if neither is set.

        Raises:
            PenstockError: if the file cannot be read.
        """
        value: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        if value is not None or path is None:
            return value
        try:
            return SecretStr(path.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise PenstockError(f"{name} cannot be read from its file: {error}", where=str(path)) from None

    def require_pii_key(self) -> SecretStr:
        """The key with which personal data is hashed.

        Raises:
            PenstockError: neither PENSTOCK_PII_KEY nor PENSTOCK_PII_KEY_FILE gives one.
        """
        key = self.secret("pii_key")
        if key is None or not key.get_secret_value():
            raise PenstockError(
                "this pipeline has personal data and there is no key to hash it with",
                safe="nothing was read or written",
                next="set PENSTOCK_PII_KEY_FILE to a file with at least 32 random characters",
            )
        return key


def _check_kafka(settings: Settings) -> None:
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    if protocol.startswith("SASL") != (mechanism is not None):
        raise _contradiction(
            f"kafka_security_protocol is {protocol}, kafka_sasl_mechanism is {mechanism or 'not set'}",
            "set a mechanism with SASL_SSL or SASL_PLAINTEXT, and only with them",
        )
    password, token = (
        ("kafka_username", "kafka_password"),
        ("kafka_token_url", "kafka_client_id", "kafka_client_secret"),
    )
    needed: Sequence[str] = () if mechanism is None else token if mechanism == "OAUTHBEARER" else password
    missing = [name for name in needed if not _given(settings, name)]
    if missing:
        raise _contradiction(f"{mechanism} needs {' and '.join(missing)}", "a secret goes into a file: <name>_file")
    idle = [n for n in (*password, *token, "kafka_scope") if _given(settings, n) and n not in needed]
    if idle and not (idle == ["kafka_scope"] and mechanism == "OAUTHBEARER"):
        raise _contradiction(
            f"{' and '.join(idle)} would not be used: kafka_sasl_mechanism is {mechanism or 'not set'}",
            "set the mechanism that they are for, or leave them out",
        )


def _check_tls(settings: Settings, part: Part) -> None:
    files = [f"{part}_{name}" for name in Tls.model_fields if getattr(settings, f"{part}_{name}") is not None]
    if files and not settings.encrypts(part):
        how = {
            "kafka": "kafka_security_protocol to SSL or SASL_SSL",
            "redis": "redis_url to rediss://...",
            "cassandra": "cassandra_tls to true",
            "triton": "triton_tls to true",
        }
        raise _contradiction(
            f"{' and '.join(files)} would not be used: the connection is not encrypted", f"set {how[part]}"
        )
    if (f"{part}_certificate_file" in files) != (f"{part}_key_file" in files):
        raise _contradiction(f"one of {part}_certificate_file and {part}_key_file is set without the other", "set both")


def _given(settings: Settings, name: str) -> bool:
    return getattr(settings, name) is not None or (name in SECRETS and getattr(settings, f"{name}_file") is not None)


def _required(settings: Settings, name: str) -> SecretStr:
    value = settings.secret(name)
    assert value is not None  # checked when the settings were read
    return value


def _file() -> dict[str, Any]:
    """What the configuration file says; secrets are refused, as such files are copied and committed."""
    path = os.environ.get(CONFIG_FILE)
    if not path:
        return {}
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PenstockError(
            f"the configuration file cannot be used: {error}", where=path, next=f"see {CONFIG_FILE}"
        ) from None
    for name in SECRETS:
        if name in found:
            raise PenstockError(
                f"{name} is a secret and must not be in the configuration file",
                where=path,
                next=f"put it into a file of its own, named by {name}_file, or into PENSTOCK_{name.upper()}",
            )
    return found


def _contradiction(what: str, remedy: str) -> PenstockError:
    return PenstockError(what, where=_WHERE, safe="nothing was read or written", next=remedy)


def _refused(error: ValidationError | SettingsError) -> PenstockError:
    # Never the value: it may be a secret.
    if isinstance(error, SettingsError):
        return PenstockError(f"a setting cannot be read: {error}", where=_WHERE)
    problems = [
        f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False, include_input=False)
    ]
    return PenstockError("; ".join(problems), where=_WHERE, next="docs/reference/settings.md lists all settings")
