"""What a takeover finds after an earlier call was killed, wherever that was."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from backfill.live.manifest import FillManifest, Segment, fill_folder, load_fill
from backfill.live.takeover import Takeover
from backfill.progress_bar import ProgressBar
from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink import lifecycle
from streams.flink.rest import Flink, Job
from streams.flink.submission import DESCRIPTION_PARAMETER, Description, Offsets, Options
from streams.flink.submit import description_of
from streams.plan.project import Project
from tests.sinks.payments import payments

PROJECT = Project.of(payments("pay"), Path("nothing is committed"))
NEW = PROJECT.plan.views[-1].id
PART = (Offsets(start={0: 0}, end={0: 500}),)


class FakeFlink:
    """A JobManager with the jobs of one pipeline."""

    url = "http://flink"

    def __init__(self) -> None:
        self.known: list[Job] = []
        self.descriptions: dict[str, Description] = {}

    def add(self, job_id: str, state: str, *views: str, filled: str | None = None) -> None:
        description = description_of(PROJECT, Options()).model_copy(
            update={"views": dict.fromkeys(views, "h"), "filled": filled}
        )
        self.known.append(Job(job_id, "penstock-pay", state, 1, 1, 1))
        self.descriptions[job_id] = description

    def jobs(self, name: str) -> list[Job]:
        return [job for job in self.known if job.name == name]

    def job(self, job_id: str) -> Job:
        return next(job for job in self.known if job.id == job_id)

    def with_details(self, job: Job) -> Job:
        return job

    def parameters(self, job_id: str) -> dict[str, str]:
        return {DESCRIPTION_PARAMETER: self.descriptions[job_id].model_dump_json()}

    def savepoint(self, job_id: str) -> str | None:
        return f"file:/savepoint-of-{job_id}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(flink={"state": tmp_path})


@pytest.fixture
def flink() -> FakeFlink:
    return FakeFlink()


def takeover(flink: FakeFlink, settings: Settings, **given: Any) -> tuple[Takeover, FillManifest, Path]:
    folder = fill_folder(settings, "pay")
    folder.mkdir(parents=True)
    fill = FillManifest(
        **{
            "pipeline": "pay",
            "run": "12345678",
            "plan": "p",
            "views": (NEW,),
            "complete_from_ms": 0,
            "max_ahead_ms": 1,
            "options": Options(),
            "segments": [Segment(sources=PART, savepoint="file:/filled")],
            **given,
        }
    )
    fill.save(folder)
    progress = ProgressBar(Console(file=StringIO()))
    return Takeover(PROJECT, settings, fill, folder, cast("Flink", flink), progress), fill, folder


def last_segment() -> Segment:
    return Segment(sources=PART, live_savepoint="file:/live", savepoint="file:/filled-to-the-end")


def test_before_the_takeover_there_is_nothing_to_resume(flink: FakeFlink, settings: Settings) -> None:
    flink.add("old", "RUNNING", "other@1")
    one, fill, _ = takeover(flink, settings)

    assert one.resume() is None
    assert len(fill.segments) == 1


def test_the_savepoint_of_a_job_that_was_stopped_is_found_if_the_call_died_before_it_was_recorded(
    flink: FakeFlink, settings: Settings
) -> None:
    flink.add("old", "FINISHED", "other@1")
    one, _, folder = takeover(flink, settings, live_job="old")

    assert one.resume() is None

    found = load_fill(folder)
    assert found is not None
    assert found.live_savepoint == "file:/savepoint-of-old"
    assert lifecycle.latest(PROJECT, settings) == "file:/savepoint-of-old"


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_job_that_ended_otherwise_has_no_savepoint_to_begin_from(
    flink: FakeFlink, settings: Settings, state: str
) -> None:
    flink.add("old", state, "other@1")
    one, _, _ = takeover(flink, settings, live_job="old")

    with pytest.raises(PenstockError, match="no longer knows its savepoint"):
        one.resume()


def test_a_job_that_is_being_stopped_is_not_forgotten(flink: FakeFlink, settings: Settings) -> None:
    flink.add("old", "RUNNING", "other@1")
    one, fill, _ = takeover(flink, settings, live_job="old")

    assert one.resume() is None
    assert fill.live_job == "old"

    flink.known.clear()
    flink.add("old", "FINISHED", "other@1")
    one.stop_running_job()
    assert fill.live_savepoint == "file:/savepoint-of-old"


def test_the_new_job_is_known_by_the_fill_that_it_took_over(flink: FakeFlink, settings: Settings) -> None:
    flink.add("old", "FINISHED", "other@1")
    flink.add("new", "RUNNING", "other@1", NEW, filled="12345678")
    one, _, _ = takeover(
        flink, settings, live_job="old", live_savepoint="file:/live", joined="file:/joined", segments=[last_segment()]
    )

    job = one.resume()

    assert job is not None
    assert job.id == "new"


def test_after_a_rollback_the_fill_catches_up_again(flink: FakeFlink, settings: Settings) -> None:
    flink.add("again", "RUNNING", "other@1")
    one, fill, folder = takeover(
        flink,
        settings,
        live_job="old",
        live_savepoint="file:/live",
        joined="file:/joined",
        segments=[Segment(sources=PART, savepoint="file:/filled"), last_segment()],
    )

    assert one.resume() is None

    assert [segment.savepoint for segment in fill.segments] == ["file:/filled"]
    assert (fill.live_job, fill.live_savepoint, fill.joined) == (None, None, None)
    assert load_fill(folder) == fill


def test_a_fill_is_given_up_if_another_job_has_its_views(flink: FakeFlink, settings: Settings) -> None:
    flink.add("other", "RUNNING", NEW)
    one, _, folder = takeover(flink, settings)

    with pytest.raises(PenstockError, match="another job with these views"):
        one.resume()
    assert load_fill(folder) is None


def test_it_does_not_begin_from_a_savepoint_that_a_job_has_gone_beyond(flink: FakeFlink, settings: Settings) -> None:
    one, _, _ = takeover(flink, settings, live_savepoint="file:/live", joined="file:/joined", segments=[last_segment()])
    lifecycle.record_latest(PROJECT, settings, "file:/of-a-later-stop", Options())

    with pytest.raises(PenstockError, match="started and stopped since"):
        one.start()


def test_the_last_segment_begins_where_the_one_before_ended(flink: FakeFlink, settings: Settings) -> None:
    one, fill, _ = takeover(flink, settings, live_savepoint="file:/live")

    for _ in range(2):  # it is added once
        one.add_last_segment()
        assert [segment.live_savepoint for segment in fill.segments] == [None, "file:/live"]
    assert fill.segments[-1].sources[0].start == {0: 500}


def test_a_first_segment_without_records_is_left_out(flink: FakeFlink, settings: Settings) -> None:
    empty = Segment(sources=(Offsets(start={0: 7}, end={0: 7}),))
    one, fill, _ = takeover(flink, settings, live_savepoint="file:/live", segments=[empty])

    one.add_last_segment()

    assert [segment.sources[0].start for segment in fill.segments] == [{0: 7}]
    assert fill.replay(fill.segments[0], 0).start == {0: 7}
