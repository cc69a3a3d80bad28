"""One module per server: its configuration files, its start command and how to ask it whether it is well."""

from deploy.local.services.base import Layout, Program, Service
from deploy.local.services.cassandra import CASSANDRA
from deploy.local.services.flink import FLINK
from deploy.local.services.kafka import KAFKA
from deploy.local.services.redis import REDIS
from deploy.local.services.triton import TRITON
from deploy.local.services.zookeeper import ZOOKEEPER

SERVICES: dict[str, Service] = {
    service.name: service for service in (KAFKA, CASSANDRA, REDIS, TRITON, ZOOKEEPER, FLINK)
}

__all__ = ["SERVICES", "Layout", "Program", "Service"]
