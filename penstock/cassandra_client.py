"""Connections to Cassandra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.query import named_tuple_factory

from penstock.sections import CassandraSettings

_REQUEST_TIMEOUT_S = 10.0


def connect_cassandra(settings: CassandraSettings, row_factory: Callable[..., Any] = named_tuple_factory) -> Cluster:
    """A cluster object, not connected yet: token-aware, LOCAL_QUORUM, reconnects within seconds after an outage.

    Raises:
        PenstockError: if a file with the password or for TLS cannot be read.
    """
    password, tls = settings.secret("password"), settings.encryption
    login = password and PlainTextAuthProvider(settings.username, password.get_secret_value())
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy()),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=_REQUEST_TIMEOUT_S,
        row_factory=row_factory,
    )
    return Cluster(
        settings.contact_points,
        port=settings.port,
        auth_provider=login,
        ssl_context=None if tls is None else tls.context(),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connect_timeout=5,
        reconnection_policy=ExponentialReconnectionPolicy(base_delay=0.5, max_delay=5),
    )
