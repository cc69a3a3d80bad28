"""The kernel starts from the archive of its classes, and without it where there is none that fits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.paths import KERNEL_JAR
from streams.inprocess import class_archive
from streams.inprocess.features_of import features_of
from streams.inprocess.kernel import Kernel
from tests.corpus.pipeline import pipeline

EVENT = {"time": 1_000, "k": "a", "x": 1.5}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kernel.jsa"
    monkeypatch.setattr(class_archive, "KERNEL_ARCHIVE", path)
    return path


def test_the_classes_of_the_kernel_and_of_its_libraries_come_from_the_archive(archive: Path, tmp_path: Path) -> None:
    assert class_archive.main() == 0
    log = tmp_path / "classes.txt"
    with Kernel(options=(f"-XX:SharedArchiveFile={archive}", f"-Xlog:class+load:file={log}")) as kernel:
        assert features_of(pipeline, [EVENT], kernel=kernel)[0].emitted
    loaded = log.read_text(encoding="utf-8").splitlines()
    (cli,) = (line for line in loaded if "penstock.kernel.Cli " in line)
    assert cli.endswith("source: shared objects file (top)")
    assert sum("shared objects file" in line for line in loaded) > 0.9 * len(loaded)


@pytest.mark.parametrize("content", [None, b"", b"not an archive" * 1_000])
def test_a_kernel_starts_without_an_archive_that_fits(archive: Path, content: bytes | None) -> None:
    if content is not None:
        archive.write_bytes(content)
    with Kernel(options=(f"-XX:SharedArchiveFile={archive}",)) as kernel:
        assert features_of(pipeline, [EVENT], kernel=kernel)[0].emitted


def test_a_kernel_of_another_jar_starts_without_the_archive(archive: Path, tmp_path: Path) -> None:
    """Java's warning about it must not pass for a response."""
    class_archive.main()
    jar = Path(shutil.copy(KERNEL_JAR, tmp_path))
    with Kernel(jar, (f"-XX:SharedArchiveFile={archive}",)) as kernel:
        assert features_of(pipeline, [EVENT], kernel=kernel)[0].emitted
