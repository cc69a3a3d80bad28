"""Where an archive is: a folder, or any filesystem that pyarrow knows by URL. Files are whole: there, or not there.

Paths are relative to the archive. Only this module writes to the filesystem.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from penstock.errors import PenstockError
from sinks.archive.conditional_writes import ConditionalWrites, UnknownConditionError

PARTIAL = ".partial"
"""How the names of files end that a process was writing when it was killed; they begin with a dot."""

_COPY_BYTES = 8 * 1024 * 1024

_log = logging.getLogger(__name__)


class StorageUnavailable(PenstockError):  # noqa: N818 - a condition that passes
    """The storage did not do what was asked; the same may be tried again."""


class NotThereError(PenstockError):
    """There is no such file."""


class StoredFile(NamedTuple):
    """A file: its path, its length in bytes, and when it was written by the clock of the storage, epoch ms."""

    path: str
    size: int
    written_ms: int


class Storage(Protocol):
    """An archive's files. Every method raises StorageUnavailable if the storage does not answer or refuses."""

    url: str
    """As the user named it, without secrets."""

    def read(self, path: str) -> bytes:
        """The bytes of a file; raises NotThereError if there is none."""

    def open(self, path: str) -> Any:
        """The file, for random access; raises NotThereError if there is none."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a new file; False if there is one already, which stays as it is."""

    def put(self, path: str, data: bytes) -> None:
        """Write a file, in the place of one that is there."""

    def put_file(self, path: str, source: Path) -> None:
        """Copy a local file, in the place of one that is there."""

    def list(self, folder: str) -> list[StoredFile]:
        """All files in a folder and below, by path; none if there is no such folder."""

    def size(self, path: str) -> int | None:
        """The length of a file; None if there is none."""

    def delete(self, path: str) -> None:
        """Delete a file; nothing happens if there is none."""


def open_storage(url: str) -> Storage:
    """The storage at a folder, or at a URL such as ``s3://bucket/prefix?region=eu-central-1``. Writes nothing.

    Raises:
        PenstockError: if it is no such URL.
    """
    if "://" not in url:
        return FolderStorage(Path(url))
    try:
        filesystem, root = pafs.FileSystem.from_uri(url)
        if not root:
            raise ValueError("it names no bucket")  # noqa: TRY301 - as pyarrow reports what else is wrong
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PenstockError(
            f"the archive's URL cannot be used: {str(error).replace(url, without_secrets(url))}",
            where=without_secrets(url),
            next="name a folder, or s3://BUCKET/PREFIX?region=REGION (&endpoint_override=HOST:PORT&scheme=http)",
        ) from error
    if isinstance(filesystem, pafs.LocalFileSystem):
        return FolderStorage(Path(root))
    conditional = ConditionalWrites(url, filesystem.region) if isinstance(filesystem, pafs.S3FileSystem) else None
    return ObjectStorage(filesystem, root, without_secrets(url), conditional)


def check_writable(storage: Storage) -> None:
    """Write a file and delete it, so that wrong rights are found before records are read.

    Raises:
        PenstockError: if it cannot be written.
    """
    probe = f".probe-{secrets.token_hex(4)}"
    try:
        storage.put(probe, b"")
        storage.delete(probe)
    except StorageUnavailable as error:
        raise PenstockError(
            f"the archive cannot be written: {error.what}",
            where=storage.url,
            safe="nothing was read or written",
            next="create the folder or bucket, and give this process the right to write there",
        ) from error


def storage_now_ms(storage: Storage) -> int:
    """The time by the clock that dates the storage's files, epoch ms."""
    probe = f".probe-{secrets.token_hex(4)}"
    storage.put(probe, b"")
    try:
        return next(file.written_ms for file in storage.list("") if file.path == probe)
    finally:
        storage.delete(probe)


def without_secrets(url: str) -> str:
    """A URL without the keys that may be in it."""
    scheme, _, rest = url.partition("://")
    before, at, place = rest.rpartition("@")
    # A secret may have slashes that nobody has escaped. A path may have an @, and the name of a bucket has no colon.
    first, slash, _ = before.partition("/")
    return f"{scheme}://{place}" if at and (not slash or ":" in first) else url


class FolderStorage:
    """A folder. A file is written under a hidden name, made durable, and then gets its own."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.url = str(root)

    def read(self, path: str) -> bytes:  # noqa: D102 - as the protocol says
        with self._errors(path, reading=True):
            return (self._root / path).read_bytes()

    def open(self, path: str) -> Any:  # noqa: D102
        with self._errors(path, reading=True):
            return pa.memory_map(str(self._root / path))

    def create(self, path: str, data: bytes) -> bool:  # noqa: D102
        with self._errors(path), self._partial(path) as partial:
            _write(partial, data)
            try:
                os.link(partial, self._root / path)
            except FileExistsError:
                return False
            _make_durable((self._root / path).parent)
            return True

    def put(self, path: str, data: bytes) -> None:  # noqa: D102
        with self._errors(path), self._partial(path) as partial:
            _write(partial, data)
            partial.replace(self._root / path)
            _make_durable((self._root / path).parent)

    def put_file(self, path: str, source: Path) -> None:  # noqa: D102
        with self._errors(path), self._partial(path) as partial:
            with source.open("rb") as given, partial.open("wb") as file:
                shutil.copyfileobj(given, file, _COPY_BYTES)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._root / path)
            _make_durable((self._root / path).parent)

    def list(self, folder: str) -> list[StoredFile]:  # noqa: D102
        found = []
        with self._errors(folder):
            for path, _, names in os.walk(self._root / folder):
                for name in names:
                    file = Path(path, name)
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        state = file.stat()
                        relative = file.relative_to(self._root).as_posix()
                        found.append(StoredFile(relative, state.st_size, state.st_mtime_ns // 1_000_000))
        return sorted(found)

    def size(self, path: str) -> int | None:  # noqa: D102
        with self._errors(path):
            file = self._root / path
            return file.stat().st_size if file.is_file() else None

    def delete(self, path: str) -> None:  # noqa: D102
        with self._errors(path):
            (self._root / path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _partial(self, path: str) -> Iterator[Path]:
        """A hidden name beside the file's own; what is left there at the end is deleted."""
        target = self._root / path
        self._make_folder(target.parent)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder, and make its name and those of its parents durable."""
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for parent in folder.relative_to(self._root).parents:
                _make_durable(self._root / parent)

    def _errors(self, path: str, *, reading: bool = False) -> contextlib.AbstractContextManager[None]:
        return _clear_errors(f"{self.url}/{path}" if path else self.url, reading=reading)


class ObjectStorage:
    """Any other filesystem of pyarrow, such as S3: a file appears when its last part has arrived.

    Args:
        filesystem: pyarrow's.
        root: The bucket and the prefix of the archive.
        url: As the user named it, without secrets.
        conditional: Creates files that must not be there, where pyarrow's filesystem has such a thing.
    """

    def __init__(self, filesystem: Any, root: str, url: str, conditional: ConditionalWrites | None = None) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._conditional = conditional
        self.url = url

    def read(self, path: str) -> bytes:  # noqa: D102
        with self._errors(path, reading=True), self._filesystem.open_input_file(self._at(path)) as file:
            data: bytes = file.readall()
            return data

    def open(self, path: str) -> Any:  # noqa: D102
        with self._errors(path, reading=True):
            return self._filesystem.open_input_file(self._at(path))

    def create(self, path: str, data: bytes) -> bool:  # noqa: D102
        if self._exclusive is not None:
            with self._errors(path):
                return self._exclusive.create(self._at(path), data)
        # Between these two, another writer may create it: Kafka gives a partition to one member of the group at a time,
        # and a writer looks at the records when it takes one over.
        if self.size(path) is not None:
            return False
        self.put(path, data)
        return True

    def put(self, path: str, data: bytes) -> None:  # noqa: D102
        with self._errors(path):
            file = self._filesystem.open_output_stream(self._at(path))
            file.write(data)
            file.close()  # not after an error: a part of the file would appear

    def put_file(self, path: str, source: Path) -> None:  # noqa: D102
        with self._errors(path), source.open("rb") as given:
            file = self._filesystem.open_output_stream(self._at(path))
            while data := given.read(_COPY_BYTES):
                file.write(data)
            file.close()

    def list(self, folder: str) -> list[StoredFile]:  # noqa: D102
        selector = pafs.FileSelector(self._at(folder), allow_not_found=True, recursive=True)
        with self._errors(folder):
            found = [file for file in self._filesystem.get_file_info(selector) if file.type == pafs.FileType.File]
        cut = len(self._root) + 1
        return sorted(StoredFile(file.path[cut:], file.size, _epoch_ms(file.mtime)) for file in found)

    def size(self, path: str) -> int | None:  # noqa: D102
        with self._errors(path):
            found = self._filesystem.get_file_info(self._at(path))
        return found.size if found.type == pafs.FileType.File else None

    def delete(self, path: str) -> None:  # noqa: D102
        with self._errors(path), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._at(path))

    @cached_property
    def _exclusive(self) -> ConditionalWrites | None:
        """What creates files, if the server is known to keep those that are there; found out with a file of its own."""
        if self._conditional is None:
            return None
        probe = f".probe-{secrets.token_hex(4)}"
        with self._errors(probe):
            try:
                self._conditional.create(self._at(probe), b"")
                if not self._conditional.create(self._at(probe), b""):
                    return self._conditional
            except UnknownConditionError:
                pass
            finally:
                self.delete(probe)
        _log.warning(
            "%s has no conditional writes (If-None-Match): a writer that stood still for long may overwrite the commit"
            " record of the one that took its partition over",
            self.url,
        )
        return None

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def _errors(self, path: str, *, reading: bool = False) -> contextlib.AbstractContextManager[None]:
        return _clear_errors(f"{self.url} at {path}" if path else self.url, reading=reading)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_durable(folder: Path) -> None:
    """A name is durable once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _epoch_ms(time: datetime | None) -> int:
    return 0 if time is None else round(time.astimezone(UTC).timestamp() * 1000)


@contextlib.contextmanager
def _clear_errors(where: str, *, reading: bool) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if reading and isinstance(error, FileNotFoundError):
            raise NotThereError(
                "a file of the archive is missing", where=where, next="penstock archive verify ARCHIVE"
            ) from error
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageUnavailable(
            f"the archive's storage refuses or does not answer: {text}",
            where=where,
            safe="everything that has a commit record; what is not archived is still in Kafka",
            next="free space, or restore access to the storage",
        ) from error
