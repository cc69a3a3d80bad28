"""An archive in a bucket of an S3 server, by URL, with credentials from the environment; and one with a file: URL.

The server is moto. For another one: ``PENSTOCK_TEST_S3=HOST:PORT``, over HTTP, with the keys AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY of the environment.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.fs as pafs
import pytest
from botocore.awsrequest import AWSResponse
from moto.server import ThreadedMotoServer

from penstock.errors import PenstockError
from sinks.archive.checking import check, repair
from sinks.archive.compaction import CLOSED_AFTER_MS, compact
from sinks.archive.conditional_writes import ConditionalWrites, UnknownConditionError
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
from sinks.archive.writing import TakenOverError
from tests.sinks.archive.archive_helpers import HOUR, TOPIC, Killed, KilledStorage, archive_all, record
from tests.sinks.payments import T0

RECORDS = [record(n, timestamp=T0 + n // 4 * HOUR) for n in range(8)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host and port of an S3 server."""
    if given := os.environ.get("PENSTOCK_TEST_S3"):
        yield given
        return
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def missing(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket that there is not, as users name it."""
    if "PENSTOCK_TEST_S3" not in os.environ:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
    return f"s3://b{secrets.token_hex(8)}/archive?region=us-east-1&scheme=http&endpoint_override={server}"


@pytest.fixture
def url(missing: str) -> str:
    """A new bucket."""
    filesystem, root = pafs.FileSystem.from_uri(missing + "&allow_bucket_creation=true")
    filesystem.create_dir(root.partition("/")[0])
    return missing


@pytest.fixture
def storage(url: str) -> Storage:
    return open_storage(url)


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


def test_of_writers_that_create_a_file_at_the_same_moment_one_wins(url: str) -> None:
    writers = [open_storage(url) for _ in range(3)]
    for number, writer in enumerate(writers):
        writer.create(f"warm/{number}", b"")  # the first asks the server more
    for attempt in range(8):
        together, created = threading.Barrier(len(writers)), Counter[bool]()

        def write(number: int, path: str, together: threading.Barrier, created: Counter[bool]) -> None:
            together.wait()
            created[writers[number].create(path, b"%d" % number)] += 1

        threads = [
            threading.Thread(target=write, args=(number, f"a/{attempt}", together, created))
            for number in range(len(writers))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert created == {True: 1, False: len(writers) - 1}


def test_of_two_writers_of_the_same_range_one_wins_and_the_other_stops(storage: Storage, url: str) -> None:
    class Rival(KilledStorage):
        """Storage in which another writer commits its batch right before this one's commit record is created."""

        def create(self, path: str, data: bytes) -> bool:
            archive_all(open_storage(url), RECORDS[:3])
            return super().create(path, data)

    with pytest.raises(TakenOverError, match="another writer has archived this range"):
        archive_all(Rival(storage, None), RECORDS, sizes=(5,))
    assert list(Archive(url).records(TOPIC)) == RECORDS[:3]
    assert check(storage, grace_ms=0).findings == []


@pytest.mark.parametrize("answer", ["refuses", "ignores"])
def test_on_a_server_without_conditional_writes_a_writer_looks_first(
    answer: str, storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def create(_: ConditionalWrites, path: str, data: bytes) -> bool:
        if answer == "refuses":
            raise UnknownConditionError(path)
        storage.put(path.partition("/archive/")[2], data)
        return True

    monkeypatch.setattr(ConditionalWrites, "create", create)
    assert storage.create("a/b", b"1")
    assert not storage.create("a/b", b"2")
    assert storage.read("a/b") == b"1"
    assert [file.path for file in storage.list("")] == ["a/b"]
    assert caplog.text.count("has no conditional writes") == 1


@pytest.mark.parametrize(("status", "raised"), [(409, OSError), (500, OSError), (501, UnknownConditionError)])
def test_what_a_server_answers_to_a_conditional_write_is_told_apart(
    status: int, raised: type[OSError], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    writes = ConditionalWrites(missing, "us-east-1")
    answer = AWSResponse("http://x", status, {}, None)
    answer._content = b"<Error><Code>Said</Code><Message>no</Message></Error>"
    writes._client.meta.events.register("before-send.s3", lambda **_: answer)
    with pytest.raises(raised, match="Said") as error:
        writes.create("bucket/a", b"")
    assert isinstance(error.value, UnknownConditionError) == (status == 501)


def test_the_time_is_that_of_the_server(storage: Storage) -> None:
    storage.put("x", b"")
    (file,) = storage.list("")
    assert storage_now_ms(storage) - file.written_ms < 60_000


def test_a_bucket_that_does_not_exist_is_an_error_before_anything_is_read(missing: str) -> None:
    with pytest.raises(PenstockError, match="the archive cannot be written"):
        check_writable(open_storage(missing))


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
