"""``penstock backfill list | show | cancel``, and a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner

from backfill.manifest import Part
from backfill.run import BackfillRequest
from penstock.cli import cli
from penstock.commands import backfill as command
from streams.flink.rest import Job
from tests.backfill.test_manifest import manifest
from tests.backfill.test_overview import job, saved

RANGE = ("--from", "1970-01-01T00:00:00.007Z", "--to", "1970-01-01T00:00:00.009Z")


class FakeFlink:
    """A cluster with one backfill's job; ``cancelled`` has the ids of those that were cancelled."""

    cancelled: list[str]

    def __init__(self, _url: str) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def every_job(self) -> list[Job]:
        return [job("0000000a")]

    def free_slots(self) -> int:
        return 7

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def await_end(self, job_id: str, _timeout_s: float) -> None: ...


@pytest.fixture(autouse=True)
def flink(monkeypatch: pytest.MonkeyPatch) -> type[FakeFlink]:
    FakeFlink.cancelled = []
    monkeypatch.setattr("penstock.commands.backfill.Flink", FakeFlink)
    monkeypatch.setattr("backfill.overview.Flink", FakeFlink)
    return FakeFlink


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["backfill", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_backfills_are_listed_with_their_states_as_a_table_and_as_json(tmp_path: Path) -> None:
    saved(tmp_path / "out", "0000000a")
    assert said("list", str(tmp_path)).splitlines()[1].split() == [
        "0000000a",
        "p",
        "running",
        "0",
        str(tmp_path / "out"),
    ]
    (one,) = json.loads(said("list", str(tmp_path), "--json"))
    assert (one["state"], one["events"], one["job"]["id"]) == ("running", 8, "0000000a-1")


def test_without_flink_folders_are_listed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PENSTOCK_FLINK_REST", "http://127.0.0.1:1")
    saved(tmp_path / "out", "0000000a")
    result = CliRunner().invoke(cli, ["backfill", "list", str(tmp_path)])
    assert result.exit_code == 0
    assert "not replayed" in result.output
    assert "Flink cannot be reached" in result.output


def test_show_tells_what_is_known_of_a_folder_or_of_a_job(tmp_path: Path) -> None:
    saved(tmp_path / "out", "0000000b")
    text = said("show", str(tmp_path / "out"))
    assert "state       not replayed" in text
    assert "1970-01-01T00:00:00.007Z" in text
    assert "state       running" in said("show", "0000000a")


def test_cancel_ends_the_job_and_says_how_to_go_on(tmp_path: Path, flink: type[FakeFlink]) -> None:
    saved(tmp_path / "out", "0000000a")
    assert said("cancel", str(tmp_path / "out")).splitlines() == [
        "0000000a: cancelled",
        "the command that began it continues it",
    ]
    assert flink.cancelled == ["0000000a-1"]


def test_a_dry_run_shows_offsets_time_and_slots_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[BackfillRequest] = []

    def planned(_project: object, _settings: object, request: BackfillRequest) -> object:
        requests.append(request)
        found = manifest()
        pace = {"max_per_s": request.max_per_s, "parallelism": request.parallelism}
        return found.model_copy(update={"replay": found.replay.model_copy(update=pace)})

    monkeypatch.setattr(command, "plan_backfill", planned)
    text = said(
        "run", "fraud", *RANGE, "--out", str(tmp_path / "o"), "--max-rate", "2", "--parallelism", "4", "--dry-run"
    )
    assert requests == [BackfillRequest(7, 9, (), 2, parallelism=4)]
    assert text.splitlines()[-2:] == [
        "8 records, about 10 s at 2 events/s",
        "7 free slots in Flink, of which it takes 4",
    ]
    assert "[0] 3 to 10" in text
    assert not (tmp_path / "o").exists()


def test_show_says_which_parts_are_in_which_cassandra_and_under_which_epoch(tmp_path: Path) -> None:
    saved(tmp_path / "out", "0000000a", delivered={"127.0.0.1:9042 penstock": ["a", "b"]})
    lines = said("show", str(tmp_path / "out")).splitlines()
    assert "cassandra   2 parts in 127.0.0.1:9042 penstock" in lines
    assert "epoch       -4,294,967,286" in lines
    assert json.loads(said("show", str(tmp_path / "out"), "--json"))["cassandra"] == {"127.0.0.1:9042 penstock": 2}


def test_what_was_written_is_one_json_object_and_the_bar_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(file="part-00000-00000.parquet", partition=0, rows=4, next_offset=6)
    monkeypatch.setattr(command, "run_backfill", lambda *_: manifest(state="complete", parts=[part]))
    written = json.loads(said("run", "fraud", *RANGE, "--out", str(tmp_path / "out"), "--json"))
    assert (written["rows"], written["files"], written["views"]) == (4, 1, ["a@1"])
