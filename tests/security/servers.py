"""Kafka, Redis, Cassandra and Triton as they run among strangers: encrypted, and closed to whoever is not named."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from deploy.local.ports import Ports
from deploy.local.services import Layout, Program, cassandra, kafka, triton
from deploy.local.services import redis as redis_service
from deploy.local.services.service import write
from deploy.security.kafka_acls import RULES, acls
from penstock.cassandra_client import connect_cassandra
from penstock.kafka.names import group_of
from penstock.processes import end_with_parent
from penstock.redis_client import connect_redis
from penstock.settings import Settings, all_settings
from streams.definitions.pipeline import Pipeline
from tests.security.certificates import Authority
from tests.security.provider import AUDIENCE, Provider

PARTS = tuple(tomllib.loads(RULES.read_text(encoding="utf-8")))
"""Every part of a pipeline that has rights."""
KEYSPACE = "penstock"
_SECURITY = RULES.parent
_ROLES = {
    "sink-cassandra": "penstock_sink",
    "score": "penstock_score",
    "reader": "penstock_reader",
    "admin": "cassandra",
}
_START_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Servers:
    """The servers, and how each part of a pipeline gets in."""

    layout: Layout
    authority: Authority
    provider: Provider
    pipeline: str

    def user(self, part: str) -> str:
        """The name of a part's user in Kafka and Redis."""
        return part if part == "admin" else group_of(self.pipeline, part)

    def password(self, part: str) -> str:
        """The password of a part's users, which no log may ever hold."""
        return "cassandra" if part == "admin" else f"hush-{part}-hush"

    def environment(self, part: str) -> dict[str, str]:
        """The variables of a part's process: of each server, its own user."""
        ports, ca = self.layout.ports, str(self.authority.file)
        secret = self.layout.home / f"{part}.secret"
        secret.touch(mode=0o600)
        secret.write_text(self.password(part) + "\n", encoding="utf-8")
        variables = {
            "KAFKA_BOOTSTRAP": f"127.0.0.1:{ports['kafka']}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_USERNAME": self.user(part),
            "KAFKA_PASSWORD_FILE": str(secret),
            "KAFKA_CA_FILE": ca,
            "CASSANDRA_KEYSPACE": KEYSPACE,
            "CASSANDRA_PORT": str(ports["cassandra"]),
            "CASSANDRA_TLS": "true",
            "CASSANDRA_CA_FILE": ca,
            "REDIS_URL": f"rediss://127.0.0.1:{ports['redis']}/0",
            "REDIS_CA_FILE": ca,
            "TRITON_GRPC": f"127.0.0.1:{ports['triton_grpc']}",
            "TRITON_TLS": "true",
            "TRITON_CA_FILE": ca,
            "MODEL_REPOSITORY": str(self.layout.models),
        }
        if part in ("sink-redis", "reader", "admin"):
            variables |= {"REDIS_USERNAME": self.user(part), "REDIS_PASSWORD_FILE": str(secret)}
        if part in _ROLES:
            variables |= {"CASSANDRA_USERNAME": _ROLES[part], "CASSANDRA_PASSWORD_FILE": str(secret)}
        return {f"PENSTOCK_{name}": value for name, value in variables.items()}

    def settings(self, part: str) -> Settings:
        """The settings of a part's process; what other servers there are is what the environment says."""
        given, values = self.environment(part), dict[str, Any]()
        for setting in all_settings().values():
            if setting.variable in given:
                section, _, name = setting.name.rpartition(".")
                table = values.setdefault(section, {}) if section else values
                table[name] = given[setting.variable]
        return Settings(**values)


@contextmanager
def running(home: Path, pipeline: Pipeline, provider: Provider) -> Iterator[Servers]:
    """The four servers, with the users, ACLs and roles of ``deploy/security`` for ``pipeline``."""
    (home / "certificates").mkdir(parents=True)
    layout = Layout(home, Ports.free(), home.name)
    servers = Servers(layout, Authority(home / "certificates"), provider, pipeline.name)
    starts = (_kafka(servers), _redis(servers), _cassandra(servers), _triton(servers))
    with _processes(starts, layout):
        ready: tuple[Callable[[], object], ...] = (
            lambda: _grant(servers, pipeline),
            lambda: _roles(servers),
            lambda: _ping(servers),
            lambda: starts[3].ready(layout),
        )
        with ThreadPoolExecutor() as pool:
            list(pool.map(_until_done, ready))
        yield servers


def _kafka(servers: Servers) -> Program:
    layout, certificate = servers.layout, servers.authority.sign("broker")
    plain = dict(line.split("=", 1) for line in kafka.server_properties(layout).splitlines())
    jaas = "org.apache.kafka.common.security"
    login = f'{jaas}.scram.ScramLoginModule required username="admin" password="{servers.password("admin")}";'
    settings = plain | {
        "listeners": plain["listeners"].replace("PLAINTEXT:", "SASL_SSL:"),
        "advertised.listeners": plain["advertised.listeners"].replace("PLAINTEXT:", "SASL_SSL:"),
        "listener.security.protocol.map": "CONTROLLER:SSL,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
        "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": f"{jaas}.oauthbearer.OAuthBearerLoginModule required;",
        "listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class": (
            f"{jaas}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        "sasl.oauthbearer.jwks.endpoint.url": servers.provider.keys_url,
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": servers.provider.issuer,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(servers.authority.file),
        # The controller's listener knows the broker by its certificate.
        "listener.name.controller.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:CN=broker",
    }
    properties = "".join(f"{name}={value}\n" for name, value in settings.items())
    kafka.prepare_with(layout, properties, [f"SCRAM-SHA-512=[name=admin,password={servers.password('admin')}]"])
    java, *arguments = kafka.command(layout)
    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={servers.provider.keys_url}"
    return replace(kafka.KAFKA.programs[0], command=lambda _: [java, allowed, *arguments])


def _redis(servers: Servers) -> Program:
    layout, certificate = servers.layout, servers.authority.sign("redis")
    users = (_SECURITY / "redis-users.acl").read_text(encoding="utf-8")
    digests = {
        f"{name}_sha256": hashlib.sha256(servers.password(part).encode()).hexdigest()
        for name, part in (("sink", "sink-redis"), ("reader", "reader"))
    }
    admin = f"user admin on >{servers.password('admin')} ~* &* +@all\n"
    write(layout.data("redis") / "users.acl", users.format(p=servers.pipeline, **digests) + admin)
    secured = {
        "port": "0",
        "tls-port": str(layout.ports["redis"]),
        "tls-cert-file": str(certificate.certificate),
        "tls-key-file": str(certificate.key),
        "tls-auth-clients": "no",
        "aclfile": str(layout.data("redis") / "users.acl"),
    }
    redis_service.prepare(layout)
    configuration = redis_service.redis_conf(layout) + "".join(f"{name} {value}\n" for name, value in secured.items())
    write(layout.data("redis") / "redis.conf", configuration)
    return redis_service.REDIS.programs[0]


def _cassandra(servers: Servers) -> Program:
    layout = servers.layout
    cassandra.prepare(layout)
    secured = f"""
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
client_encryption_options:
  enabled: true
  optional: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: {servers.authority.sign("cassandra").both}
"""
    write(layout.data("cassandra") / "cassandra.yaml", cassandra.cassandra_yaml(layout) + secured)
    command = cassandra.command(layout)
    options_end = command.index("-cp")
    # The first superuser is otherwise made ten seconds after the start.
    now = "-Dcassandra.superuser_setup_delay_ms=0"
    return replace(
        cassandra.CASSANDRA.programs[0], command=lambda _: [*command[:options_end], now, *command[options_end:]]
    )


def _triton(servers: Servers) -> Program:
    certificate = servers.authority.sign("triton")
    triton.prepare(servers.layout)
    secured = ["--grpc-use-ssl=true", f"--grpc-server-cert={certificate.certificate}"]
    secured += [f"--grpc-server-key={certificate.key}"]
    return replace(triton.TRITON.programs[0], command=lambda layout: [*triton.command(layout), *secured])


@contextmanager
def _processes(programs: Sequence[Program], layout: Layout) -> Iterator[None]:
    layout.logs.mkdir(exist_ok=True)
    started = []
    try:
        for program in programs:
            with (layout.logs / f"{program.name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        program.command(layout),
                        stdout=log,
                        stderr=log,
                        env={**os.environ, **program.environment(layout)},
                        preexec_fn=end_with_parent,  # noqa: PLW1509 - it makes one system call
                    )
                )
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until_done(attempt: Callable[[], object]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            attempt()
        except Exception:  # whatever a client raises while its server starts
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return


def _grant(servers: Servers, pipeline: Pipeline) -> None:
    """Kafka's users, each with what the file allows it."""
    admin = AdminClient(servers.settings("admin").kafka.access.client() | {"log_level": 0})
    admin.list_topics(timeout=3)
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    users = [UserScramCredentialUpsertion(servers.user(part), info, servers.password(part).encode()) for part in PARTS]
    for done in admin.alter_user_scram_credentials(users).values():
        done.result(20)
    bindings = [
        AclBinding(
            ResourceType[acl.resource.upper()],
            acl.name,
            ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
            f"User:{acl.user}",
            "*",
            AclOperation[_snake(acl.operation)],
            AclPermissionType.ALLOW,
        )
        for acl in acls(pipeline)
    ]
    for done in admin.create_acls(bindings).values():
        done.result(20)


def _roles(servers: Servers) -> None:
    """The keyspace and Cassandra's roles."""
    text = (_SECURITY / "cassandra-roles.cql").read_text(encoding="utf-8")
    text = text.replace("'NetworkTopologyStrategy', 'datacenter1': 3", "'SimpleStrategy', 'replication_factor': 1")
    for part in ("sink-cassandra", "score", "reader"):
        text = text.replace(f"change-me-{part.removesuffix('-cassandra')}", servers.password(part))
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    with connect_cassandra(servers.settings("admin").cassandra) as cluster, cluster.connect() as session:
        for statement in "\n".join(lines).split(";"):
            if statement.strip():
                session.execute(statement)


def _ping(servers: Servers) -> None:
    with connect_redis(servers.settings("admin").redis) as client:
        client.ping()


def _snake(operation: str) -> str:
    return "".join(f"_{c}" if c.isupper() and place else c for place, c in enumerate(operation)).upper()
