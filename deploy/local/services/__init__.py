"""The services of the local stack, one module each, and the list of them."""

from deploy.local.services.cassandra import CASSANDRA
from deploy.local.services.flink import FLINK
from deploy.local.services.kafka import KAFKA
from deploy.local.services.redis import REDIS
from deploy.local.services.service import Layout, Program, Service
from deploy.local.services.triton import TRITON
from deploy.local.services.zookeeper import ZOOKEEPER

SERVICES: dict[str, Service] = {
    service.name: service for service in (KAFKA, CASSANDRA, REDIS, TRITON, ZOOKEEPER, FLINK)
}
PROGRAMS: dict[str, Program] = {program.name: program for service in SERVICES.values() for program in service.programs}

__all__ = ["PROGRAMS", "SERVICES", "Layout", "Program", "Service"]
