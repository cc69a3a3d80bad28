"""The settings of a process: the one place that reads the environment (prefix PENSTOCK_) and the configuration file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from penstock.errors import PenstockError
from penstock.home import stack_environment
from penstock.paths import DEFAULT_HOME, JARS
from penstock.sections import (
    CassandraSettings,
    FlinkSettings,
    KafkaSettings,
    PiiSettings,
    RedisSettings,
    Section,
    TritonSettings,
    refuse_credentials,
    source_of,
)

CONFIG_FILE = "PENSTOCK_CONFIG_FILE"


class Settings(BaseSettings):
    """Settings of a Penstock process; the defaults are those of the local stack that `penstock up` starts.

    They come from the environment (``PENSTOCK_<NAME>``, ``PENSTOCK_<SECTION>_<NAME>``) and from the TOML file that
    PENSTOCK_CONFIG_FILE names, with a table for each section. The environment takes precedence. Unknown variables are
    ignored; unknown names in the file are errors. If PENSTOCK_HOME is set, the defaults are those of the stack in that
    folder.

    Raises:
        PenstockError: if a value is invalid, settings contradict each other, or the file cannot be read.
    """

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    cassandra: CassandraSettings = CassandraSettings()
    triton: TritonSettings = TritonSettings()
    model_repository: Path = Field(DEFAULT_HOME / "models", description="Triton's model repository")
    flink: FlinkSettings = FlinkSettings()
    jars: Path = Field(JARS, description="folder of the connector and kernel jars")
    schema_registry_url: str | None = Field(None, description="URL of a Confluent schema registry; default: none")
    pii: PiiSettings = PiiSettings()
    metrics_host: str = Field("127.0.0.1", description="address that /metrics endpoints listen on")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except (ValidationError, SettingsError) as error:
            raise _invalid_settings(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In order of precedence: the environment, the file, the stack in PENSTOCK_HOME."""
        environment, stack = _Variables(settings_cls, os.environ), _Variables(settings_cls, stack_environment())
        return init_settings, environment, InitSettingsSource(settings_cls, _read_config_file()), stack

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_credentials("schema_registry_url", self.schema_registry_url)
        return self


@dataclass(frozen=True)
class Setting:
    """One setting: its name in errors and in the file (``kafka.bootstrap``), and its field of the model."""

    name: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"PENSTOCK_{self.name.replace('.', '_').upper()}"

    @property
    def is_secret(self) -> bool:
        """Whether it is a secret: never shown, and refused in the configuration file."""
        return self.field.annotation == SecretStr | None


def all_settings() -> dict[str, Setting]:
    """All settings by name, in the order of the model."""
    found: dict[str, Setting] = {}
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for part, inner in kind.model_fields.items():
                found[f"{name}.{part}"] = Setting(f"{name}.{part}", inner)
        else:
            found[name] = Setting(name, field)
    return found


class _Variables(EnvSettingsSource):
    """The variables that are settings. Others with this prefix belong to commands or, in Kubernetes, to services."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        known = {setting.variable.lower() for setting in all_settings().values()}
        return {name.lower(): value for name, value in self._variables.items() if name.lower() in known}


def _read_config_file() -> dict[str, Any]:
    """Read the configuration file. Refuses secrets, because such files are copied and committed."""
    path = os.environ.get(CONFIG_FILE)
    if not path:
        return {}
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PenstockError(
            f"the configuration file cannot be read: {error}", where=path, next=f"correct the file, or {CONFIG_FILE}"
        ) from None
    names = {f"{table}.{name}" for table, values in found.items() if isinstance(values, dict) for name in values}
    for setting in all_settings().values():
        if setting.is_secret and setting.name in names:
            raise PenstockError(
                f"{setting.name} is a secret and must not be in the configuration file",
                where=path,
                next=f"put it into a separate file and name that in {setting.name}_file, or set {setting.variable}",
            )
    return found


def _invalid_settings(error: ValidationError | SettingsError) -> PenstockError:
    # Do not show the value: it may be a secret.
    if isinstance(error, SettingsError):
        return PenstockError(f"a setting is invalid: {error}", where=source_of())
    known = all_settings()
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(map(str, problem["loc"]))
        variable = f" ({known[name].variable})" if name in known else ""
        problems.append(f"{name}{variable}: {problem['msg']}")
    return PenstockError("; ".join(problems), where=source_of(), next="docs/reference/settings.md lists all settings")
