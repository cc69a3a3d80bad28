"""Where the servers are and which secrets to use: the one place that reads the environment (prefix PENSTOCK_)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deploy.local.paths import DEFAULT_HOME, JARS
from penstock.errors import PenstockError
from penstock.kafka import KafkaAccess


class Settings(BaseSettings):
    """Settings of a Penstock process; the defaults are those of the local stack that `penstock up` starts."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", frozen=True, extra="ignore")

    kafka_bootstrap: str = Field("127.0.0.1:19092", description="Kafka bootstrap servers, comma separated")
    redis_url: str = Field("redis://127.0.0.1:16379/0", description="Redis, the online store")
    cassandra_contact_points: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1",), description="Cassandra hosts, comma separated"
    )
    cassandra_port: int = 19042
    cassandra_keyspace: str = Field("penstock", pattern=r"^[a-z][a-z0-9_]{0,47}$")
    triton_grpc: str = Field("127.0.0.1:18001", description="host:port of Triton's gRPC endpoint")
    triton_http: str = Field("http://127.0.0.1:18000", description="base URL of Triton's HTTP endpoint")
    triton_metrics: str = "http://127.0.0.1:18002/metrics"
    model_repository: Path = Field(DEFAULT_HOME / "models", description="Triton's model repository")
    flink_rest: str = Field("http://127.0.0.1:18081", description="base URL of the JobManager")
    flink_conf_dir: Path = Field(DEFAULT_HOME / "flink" / "conf", description="FLINK_CONF_DIR of job submission")
    flink_home: Path | None = Field(None, description="FLINK_HOME; by default the one in the jobs environment")
    jars: Path = Field(JARS, description="the folder of connector and kernel jars")
    schema_registry_url: str | None = Field(None, description="a Confluent schema registry; none by default")
    pii_key: SecretStr | None = Field(None, description="key of the keyed hash of personal data")
    pii_key_file: Path | None = Field(None, description="a file that holds pii_key")
    metrics_host: str = Field("127.0.0.1", description="the address that /metrics endpoints listen on")

    @field_validator("cassandra_contact_points", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def kafka(self) -> KafkaAccess:
        """How Kafka clients of this process connect."""
        return KafkaAccess(bootstrap=self.kafka_bootstrap)

    @cached_property
    def _key_of_file(self) -> SecretStr | None:
        if self.pii_key_file is None:
            return None
        try:
            return SecretStr(self.pii_key_file.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise PenstockError(
                f"the PII key cannot be read: {error.strerror}", where=str(self.pii_key_file)
            ) from error

    def require_pii_key(self) -> SecretStr:
        """The key with which personal data is hashed.

        Raises:
            PenstockError: neither PENSTOCK_PII_KEY nor PENSTOCK_PII_KEY_FILE gives one.
        """
        key = self.pii_key or self._key_of_file
        if key is None or not key.get_secret_value():
            raise PenstockError(
                "this pipeline has personal data and there is no key to hash it with",
                safe="nothing was read or written",
                next="set PENSTOCK_PII_KEY_FILE to a file with at least 32 random characters",
            )
        return key
