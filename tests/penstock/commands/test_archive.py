"""The commands of ``penstock archive``: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli
from penstock.errors import PenstockError
from penstock.settings import Settings
from sinks.archive.topics import KINDS, topic_columns
from streams.plan.project import open_project
from tests.sinks.archive.archive_helpers import HOUR, TOPIC, archive_all, event_columns, feature_columns, folder, record
from tests.sinks.payments import T0

RECORDS = [record(n, timestamp=T0 + n // 4 * HOUR) for n in range(8)]


@pytest.fixture
def archive(tmp_path: Path) -> str:
    storage = folder(tmp_path)
    archive_all(storage, RECORDS, sizes=(2,))
    return storage.url


def penstock(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["archive", *arguments], terminal_width=200)


def test_list_shows_what_is_archived(archive: str) -> None:
    assert penstock("list", archive).output == f"{TOPIC}[0]: offsets 0 to 8: 8 records\n"
    assert json.loads(penstock("list", archive, "--json").output) == {TOPIC: {"0": [[0, 8]]}}


def test_list_gives_the_files_that_count_to_other_programs(archive: str) -> None:
    files = penstock("list", archive, "--files").output.split()
    assert sorted(files) == sorted(str(path.relative_to(archive)) for path in Path(archive).rglob("*.parquet"))


def test_compact_merges_and_has_nothing_to_do_the_second_time(archive: str) -> None:
    done = penstock("compact", archive)
    assert (done.exit_code, done.output) == (0, f"{TOPIC}: 4 batches in 4 files became 2 batches in 2 files\n")
    again = penstock("compact", archive, "--json")
    assert again.exit_code == 99
    assert json.loads(again.output) == {TOPIC: {"batches_before": 0, "batches": 0, "files_before": 0, "files": 0}}


def test_verify_is_silent_about_a_good_archive(archive: str) -> None:
    done = penstock("verify", archive)
    assert (done.exit_code, done.output) == (0, f"{TOPIC}: 8 rows in 4 files\nnothing is wrong\n")


def test_verify_decodes_the_values_again_if_it_is_told_by_which_definition(
    archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.commands.archive.topic_columns", lambda *_: {TOPIC: event_columns()})
    done = penstock("verify", archive, "--deep", "fraud")
    assert (done.exit_code, done.output) == (0, f"{TOPIC}: 8 rows in 4 files\nnothing is wrong\n")
    monkeypatch.setattr("penstock.commands.archive.topic_columns", lambda *_: {TOPIC: feature_columns()})
    done = penstock("verify", archive, "--deep", "fraud")
    assert f"{TOPIC}: 4 files of another definition, whose values were not decoded\n" in done.output
    assert json.loads(penstock("verify", archive, "--deep", "fraud", "--json").output)["topics"] == {
        TOPIC: {"rows": 8, "files": 4, "not_decoded": 4}
    }


def test_verify_exits_with_3_and_names_what_is_wrong(archive: str) -> None:
    lost = next(Path(archive).rglob("*.parquet"))
    lost.unlink()
    done = penstock("verify", archive)
    assert done.exit_code == 3
    assert f"missing file: {lost.relative_to(archive)}: {TOPIC}[0]@" in done.output
    assert "1 thing wrong" in done.output
    report = json.loads(penstock("verify", archive, "--json").output)
    assert not report["right"]
    assert [finding["kind"] for finding in report["findings"]] == ["missing file"]


def test_verify_repairs_what_is_left_over_and_nothing_else(archive: str) -> None:
    left = Path(archive) / next(Path(archive).rglob("*.parquet")).relative_to(archive).with_name(
        f"00000-{8:020}-{9:020}.parquet"
    )
    left.write_bytes(b"")
    an_hour_ago = time.time() - 3_601
    os.utime(left, (an_hour_ago, an_hour_ago))
    assert penstock("verify", archive).exit_code == 3
    done = penstock("verify", archive, "--repair")
    assert done.exit_code == 0
    assert f"removed: {left.relative_to(archive)}" in done.output
    assert not left.exists()


def test_verify_does_not_praise_what_is_no_archive_or_no_topic(archive: str, tmp_path: Path) -> None:
    assert isinstance(penstock("verify", str(tmp_path / "none")).exception, PenstockError)
    assert isinstance(penstock("verify", archive, "--topic", "evnts").exception, PenstockError)


@pytest.mark.parametrize("option", [["--topics", "raw,others"], ["--every", "soon"]])
def test_run_refuses_options_that_it_does_not_understand(option: list[str], tmp_path: Path) -> None:
    assert penstock("run", "fraud", "--out", str(tmp_path), *option).exit_code == 2


def test_an_archive_of_nothing_has_no_topics(tmp_path: Path) -> None:
    assert penstock("list", str(tmp_path / "none")).output == ""
    assert isinstance(penstock("list", str(tmp_path), "--topic", "t").exception, PenstockError)


def test_the_topics_of_a_pipeline_are_those_of_its_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PII_KEY", "secret")
    project, settings = open_project("fraud"), Settings()
    assert list(topic_columns(project, settings)) == [
        "events.transactions",
        "labels.fraud",
        "features.fraud",
        "predictions.fraud",
    ]
    assert list(topic_columns(project, settings, KINDS[2:])) == ["features.fraud", "predictions.fraud"]


def test_personal_fields_need_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PENSTOCK_PII_KEY", "PENSTOCK_PII_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PenstockError, match="no key to hash it with"):
        topic_columns(open_project("fraud"), Settings(), ["raw"])
    assert topic_columns(open_project("fraud"), Settings(), ["features"])
