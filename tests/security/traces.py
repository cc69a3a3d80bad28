"""Searches everything that a run leaves behind for texts that must not be there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx
from confluent_kafka.admin import AdminClient

from penstock.cassandra_client import connect_cassandra
from penstock.kafka.reading import read_topic
from penstock.redis_client import connect_redis
from tests.security.services import Access


def in_topics(servers: Access, words: Sequence[str], verbatim: Iterable[str], named: str = "") -> list[str]:
    """Where keys, values and headers of any topic hold one of the words, but for keys and values of those verbatim.

    On servers that others use too, only topics that have ``named`` in their names are searched.
    """
    kafka = servers.settings("admin").kafka.access
    found = []
    for topic in AdminClient(kafka.client()).list_topics(timeout=10).topics:
        for record in read_topic(kafka, topic) if named in topic else ():
            parts = [part for name, value in record.headers for part in (name.encode(), value)]
            if topic not in verbatim:
                parts += [record.key, record.value]
            found += _found(f"{topic}[{record.partition}]@{record.offset}", parts, words)
    return found


def in_redis(servers: Access, words: Sequence[str]) -> list[str]:
    """Which keys hold one of the words, in name or value."""
    with connect_redis(servers.settings("admin").redis) as client:
        keys = list(client.scan_iter())
        assert keys, "nothing is stored"
        return [place for key in keys for place in _found(repr(key), (key, client.dump(key)), words)]


def in_cassandra(servers: Access, words: Sequence[str]) -> list[str]:
    """Which rows of any table of the keyspace hold one of the words."""
    found = []
    settings = servers.settings("admin").cassandra
    with connect_cassandra(settings) as cluster, cluster.connect() as session:
        tables = list(cluster.metadata.keyspaces[settings.keyspace].tables)
        assert tables, "there are no tables"
        for table in tables:
            rows = session.execute(f'SELECT * FROM "{settings.keyspace}"."{table}"')
            found += [place for row in rows for place in _found(table, [repr(row).encode()], words)]
    return found


def in_files(folders: Iterable[Path], words: Sequence[str]) -> list[str]:
    """Which files below the folders hold one of the words."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files, "there are no files"
    return [place for path in files for place in _found(str(path), [path.read_bytes()], words)]


def in_pages(urls: Iterable[str], words: Sequence[str]) -> list[str]:
    """Which pages hold one of the words."""
    return [
        place
        for url in urls
        # A connection for each page: a server may close one that is kept, while the next request is sent.
        for place in _found(url, [httpx.get(url, trust_env=False, timeout=10).raise_for_status().content], words)
    ]


def pages_of_job(flink_rest: str, job: str) -> Iterator[str]:
    """What Flink shows of a job, of each of its operators and of itself."""
    pages = ("", "/config", "/plan", "/exceptions", "/checkpoints", "/accumulators?includeSerializedValue=true")
    yield from (f"{flink_rest}/jobs/{job}{page}" for page in pages)
    with httpx.Client(trust_env=False, timeout=10) as http:
        shown = http.get(f"{flink_rest}/jobs/{job}").raise_for_status().json()
    for vertex in (each["id"] for each in shown["vertices"]):
        parts = ("", "/accumulators", "/subtasks/accumulators", "/taskmanagers", "/watermarks", "/metrics")
        yield from (f"{flink_rest}/jobs/{job}/vertices/{vertex}{part}" for part in parts)
    own = ("/config", "/jobmanager/config", "/jobmanager/environment", "/jobs/overview", "/taskmanagers", "/jars")
    yield from (f"{flink_rest}{page}" for page in own)


def _found(place: str, parts: Iterable[bytes | None], words: Sequence[str]) -> list[str]:
    return [f"{word} in {place}" for part in parts if part for word in words if word.encode() in part]
