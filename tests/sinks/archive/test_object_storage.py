"""An archive in a bucket of an S3 server, by URL, with credentials from the environment; and one with a file: URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pytest
from moto.server import ThreadedMotoServer

from penstock.errors import PenstockError
from sinks.archive.checking import check, repair
from sinks.archive.compaction import CLOSED_AFTER_MS, compact
from sinks.archive.reading import Archive
from sinks.archive.storage import (
    FolderStorage,
    NotThereError,
    Storage,
    check_writable,
    open_storage,
    storage_now_ms,
    without_secrets,
)
from tests.sinks.archive.archive_helpers import HOUR, TOPIC, Killed, KilledStorage, archive_all, record
from tests.sinks.payments import T0

RECORDS = [record(n, timestamp=T0 + n // 4 * HOUR) for n in range(8)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host and port of an S3 server."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, as users name it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return f"s3://bucket/archive?region=us-east-1&scheme=http&endpoint_override={server}"


@pytest.fixture
def storage(url: str, server: str) -> Iterator[Storage]:
    httpx.put(f"http://{server}/bucket").raise_for_status()
    yield open_storage(url)
    httpx.post(f"http://{server}/moto-api/reset").raise_for_status()


def test_a_bucket_is_archived_to_read_verified_and_compacted(storage: Storage, url: str) -> None:
    check_writable(storage)
    archive_all(storage, RECORDS, sizes=(3,))
    archive = Archive(url)
    assert list(archive.records(TOPIC)) == RECORDS
    assert check(storage, grace_ms=0).findings == []
    assert compact(storage, TOPIC, T0 + HOUR + CLOSED_AFTER_MS + HOUR).files == 2
    assert list(archive.records(TOPIC, start={0: 2}, end={0: 7})) == RECORDS[2:7]
    assert check(storage, grace_ms=0).findings == []
    assert archive.topics() == [TOPIC]


def test_killed_at_any_step_a_bucket_has_every_record_once(storage: Storage) -> None:
    for step in range(4):
        with pytest.raises(Killed):
            archive_all(KilledStorage(storage, step), RECORDS, sizes=(5,))
    archive_all(storage, RECORDS, sizes=(3,))
    assert list(Archive(storage).records(TOPIC)) == RECORDS
    repair(storage, check(storage, grace_ms=0))
    assert check(storage, grace_ms=0).findings == []


def test_a_file_that_is_there_is_not_created_again(storage: Storage) -> None:
    assert storage.create("a/b", b"1")
    assert not storage.create("a/b", b"2")
    assert storage.read("a/b") == b"1"
    storage.delete("a/b")
    storage.delete("a/b")
    assert storage.size("a/b") is None
    with pytest.raises(NotThereError):
        storage.read("a/b")


def test_the_time_is_that_of_the_server(storage: Storage) -> None:
    storage.put("x", b"")
    (file,) = storage.list("")
    assert storage_now_ms(storage) - file.written_ms < 60_000


def test_a_bucket_that_does_not_exist_is_an_error_before_anything_is_read(url: str) -> None:
    with pytest.raises(PenstockError, match="the archive cannot be written"):
        check_writable(open_storage(url.replace("bucket", "nobody")))


def test_keys_in_a_url_are_not_shown() -> None:
    assert without_secrets("s3://key:secret@bucket/a?region=x") == "s3://bucket/a?region=x"
    assert without_secrets("s3://bucket/a") == "s3://bucket/a"
    assert without_secrets("s3://key:sec/ret@bucket/a") == "s3://bucket/a"
    assert without_secrets("s3://bucket/a@b") == "s3://bucket/a@b"


@pytest.mark.parametrize("url", ["s3://key:sec/ret@bucket/a", "s3://key:sec ret@bucket/a", "s4://key:secret@bucket/a"])
def test_keys_in_a_url_that_cannot_be_read_are_not_shown(url: str) -> None:
    with pytest.raises(PenstockError, match="cannot be used") as error:
        open_storage(url)
    assert "ret" not in str(error.value).replace("secrets", "")


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "s3://bucket/a?unknown=1"])
def test_a_url_that_cannot_be_used_is_an_error(url: str) -> None:
    with pytest.raises(PenstockError, match="the archive's URL cannot be used"):
        open_storage(url)


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_storage(f"file://{tmp_path}"), FolderStorage)
    archive_all(open_storage(f"file://{tmp_path}"), RECORDS)
    assert list(Archive(str(tmp_path)).records(TOPIC)) == RECORDS
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/topic=*/**/*.parquet'").fetchone() == (8,)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PenstockError, match="the archive cannot be written"):
        check_writable(open_storage(str(tmp_path / "file")))
