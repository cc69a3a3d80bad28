"""Lists topics, creates missing ones, and checks those that a process needs."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.home import set_or_correct
from penstock.kafka.access import QUIET, KafkaAccess
from penstock.kafka.names import Topic

_log = logging.getLogger(__name__)

_TIMEOUT_S = 15.0
# For a broker that is just being started again. Where nothing listens after it, nobody is waited for.
_SHORT_S = 3.0
_BROKERS_DEFAULT = -1  # as Kafka's protocol has it, since 2.4


def create_topics(wanted: Sequence[Topic], kafka: KafkaAccess, *, replication: int | None = None) -> list[str]:
    """Creates the topics that do not exist yet; returns the names of those it created.

    ``replication`` is their replication factor; None leaves it to the brokers (``default.replication.factor``).

    Raises:
        PenstockError: if Kafka cannot be reached, or an existing topic has another number of partitions.
    """
    admin = admin_client(kafka)
    existing = partition_counts(admin, kafka)
    for topic in wanted:
        if topic.name in existing and existing[topic.name] != topic.partitions:
            raise PenstockError(
                what=f"topic {topic.name} has {counted(existing[topic.name], 'partition')}, "
                f"the pipeline wants {topic.partitions}",
                where=str(kafka),
                safe="nothing was changed",
                next="set Source(partitions=...) to the topic's number, or migrate to a new topic",
            )
    missing = [topic for topic in wanted if topic.name not in existing]
    factor = _BROKERS_DEFAULT if replication is None else replication
    requests = [NewTopic(t.name, t.partitions, factor, config=t.config) for t in missing]
    for name, future in (admin.create_topics(requests, operation_timeout=_TIMEOUT_S) if requests else {}).items():
        try:
            future.result(_TIMEOUT_S)
        except KafkaException as error:
            # Another process of the same pipeline may have created it meanwhile: not an error.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise PenstockError(
                    what=f"topic {name} could not be created: {error.args[0].str()}",
                    where=str(kafka),
                    next="penstock status",
                ) from error
    created = [topic.name for topic in missing]
    _await_known(admin, kafka, created)
    return created


def _await_known(admin: AdminClient, kafka: KafkaAccess, names: list[str]) -> None:
    """Wait until the brokers know the created topics, so that the next command finds them."""
    deadline = time.monotonic() + _TIMEOUT_S
    while names and not set(names) <= partition_counts(admin, kafka).keys() and time.monotonic() < deadline:
        time.sleep(0.05)


def require_topics(names: Sequence[str], kafka: KafkaAccess, *, partitions: int, pipeline: str) -> None:
    """Checks that topics exist, each with this number of partitions; ``pipeline`` is for the message only.

    Raises:
        PenstockError: if Kafka cannot be reached, a topic is missing or has another number of partitions.
    """
    existing = require_existing(names, kafka, pipeline)
    for name in names:
        if existing[name] != partitions:
            raise PenstockError(
                what=f"topic {name} has {counted(existing[name], 'partition')}, not {partitions}",
                where=str(kafka),
                next="raw, feature and prediction topics need the same number: recreate the topic, or set partitions",
            )


def require_existing(names: Sequence[str], kafka: KafkaAccess, pipeline: str) -> dict[str, int]:
    """Check that topics exist, with any number of partitions; returns that of each topic there is.

    Raises:
        PenstockError: if Kafka cannot be reached, or a topic is missing.
    """
    existing = partition_counts(admin_client(kafka), kafka) if names else {}
    missing = [name for name in names if name not in existing]
    if missing:
        raise PenstockError(
            what=f"topics that do not exist: {', '.join(missing)}",
            where=str(kafka),
            next=f"penstock topics create {pipeline}",
        )
    return existing


def topic_settings(names: Sequence[str], kafka: KafkaAccess) -> dict[str, dict[str, str]]:
    """The settings of each topic, by name.

    Raises:
        PenstockError: if Kafka cannot be reached, or does not allow it.
    """
    # Keep a reference to the client: a collected client drops its pending answers.
    admin = admin_client(kafka)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in dict.fromkeys(names)]
    try:
        answers = admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
        found = {resource.name: future.result(_TIMEOUT_S + 1) for resource, future in answers.items()}
    except (KafkaException, TimeoutError) as error:
        raise PenstockError(
            f"cannot read the settings of the topics: {error}",
            where=str(kafka),
            next="penstock status; if the cluster has ACLs, grant this user DescribeConfigs on "
            + ", ".join(dict.fromkeys(names)),
        ) from error
    return {name: {setting: entry.value for setting, entry in entries.items()} for name, entries in found.items()}


def largest_messages(names: Sequence[str], kafka: KafkaAccess) -> dict[str, int]:
    """How many bytes each topic takes in a message (``max.message.bytes``).

    Raises:
        PenstockError: as :func:`topic_settings`.
    """
    return message_limits(topic_settings(names, kafka))


def message_limits(settings: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """As :func:`largest_messages`, from settings that :func:`topic_settings` has read."""
    return {name: int(entries["max.message.bytes"]) for name, entries in settings.items()}


def require_room(written: Mapping[str, int], largest: Mapping[str, int], kafka: KafkaAccess) -> None:
    """Check that topics take what is written to them.

    Args:
        written: The bytes that each topic must take.
        largest: The bytes that each topic takes, see :func:`largest_messages`.
        kafka: For messages only.

    Raises:
        PenstockError: if a topic takes less.
    """
    for name, needed in written.items():
        if largest[name] < needed:
            raise PenstockError(
                f"topic {name} takes messages of {largest[name]:,} bytes, and {needed:,} may be written to it",
                where=f"{name} at {kafka}",
                safe="nothing was read or written",
                next=f"kafka-configs.sh --alter --entity-type topics --entity-name {name} "
                f"--add-config max.message.bytes={needed}",
            )


def admin_client(kafka: KafkaAccess) -> AdminClient:
    """An admin client without log output; keep a reference to it until its futures are done."""
    return AdminClient({**kafka.client(), **QUIET})


def topic_ids(kafka: KafkaAccess, topics: Sequence[str]) -> dict[str, str]:
    """Kafka's id of each topic for which it tells one: a topic that was made anew has another."""
    admin = admin_client(kafka)  # a client that is gone answers nothing
    ids = {}
    for topic, future in admin.describe_topics(TopicCollection(topics), request_timeout=_TIMEOUT_S).items():
        try:
            ids[topic] = str(future.result(_TIMEOUT_S).topic_id)
        except (KafkaException, TimeoutError) as error:
            _log.warning("the id of topic %s is not known: %s", topic, error)
    return ids


def partition_counts(admin: AdminClient, kafka: KafkaAccess) -> dict[str, int]:
    """Number of partitions of every topic of the cluster.

    Raises:
        PenstockError: if Kafka cannot be reached.
    """
    try:
        try:
            metadata = admin.list_topics(timeout=_SHORT_S)
        except KafkaException:
            if _all_refuse(kafka.bootstrap):
                raise
            metadata = admin.list_topics(timeout=_TIMEOUT_S - _SHORT_S)
    except KafkaException as error:
        raise PenstockError(
            what="Kafka cannot be reached",
            where=str(kafka),
            next=f"penstock up, or {set_or_correct('PENSTOCK_KAFKA_BOOTSTRAP')}",
        ) from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _all_refuse(bootstrap: str) -> bool:
    """Whether nothing listens at any of the addresses: not so if one is slow, or its name cannot be resolved now."""
    for broker in bootstrap.split(","):
        # As librdkafka has it: perhaps with a protocol before, and without a port.
        host, _, port = broker.strip().rpartition("://")[2].rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        except ConnectionRefusedError:
            continue
        except (OSError, ValueError, OverflowError):
            pass
        return False
    return True
