"""Upgrades that are refused before the job is stopped. The golden run checks that an upgrade changes no value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock import Entity, View, count
from penstock.errors import PenstockError
from penstock.settings import Settings
from streams.flink import rest as flink_rest
from streams.flink import upgrade
from streams.flink.submission import DESCRIPTION_PARAMETER, Description, Options
from streams.flink.submit import description_of
from streams.plan.project import Project
from tests.sinks.payments import payments

RUNNING = payments("pay")
RUNNING_PROJECT = Project.of(RUNNING, Path("nothing is committed"))
HTTP_CLIENT = httpx.Client


class Cluster:
    """A JobManager with one job; any request that would change it fails the test."""

    def __init__(self, description: Description | None, slots: int = 8) -> None:
        self.parameters = {} if description is None else {DESCRIPTION_PARAMETER: description.model_dump_json()}
        self.slots = slots

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET", f"{request.method} {request.url}"
        job = {"jid": "j", "name": "penstock-pay", "state": "RUNNING", "start-time": 1}
        answers: dict[str, Any] = {
            "/jobs/overview": {"jobs": [job | {"tasks": {"total": 1, "running": 1}}]},
            "/jobs/j/config": {"execution-config": {"user-config": self.parameters}},
            "/jobs/j": {"vertices": [{"parallelism": 2}]},
            "/overview": {"slots-available": self.slots - 2},
        }
        return httpx.Response(200, json=answers[request.url.path])


@pytest.fixture
def settings() -> Settings:
    return Settings(flink={"rest": "http://flink"})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(description_of(RUNNING_PROJECT, Options(parallelism=2)))
    monkeypatch.setattr(
        flink_rest.httpx, "Client", lambda **given: HTTP_CLIENT(**given | {"transport": httpx.MockTransport(made)})
    )
    return made


def with_views(*views: View) -> Project:
    return Project.of(RUNNING.model_copy(update={"views": views}), RUNNING_PROJECT.schemas)


def test_a_view_changed_under_the_same_version_is_refused(cluster: Cluster, settings: Settings) -> None:
    card = Entity(name="card", key="card")
    changed = View(name="spending", version=1, entity=card, aggregates=(count(over="2h"),))
    with pytest.raises(PenstockError, match="spending@1 differs from the running job's view") as refused:
        upgrade.upgrade(with_views(changed), settings)
    assert refused.value.safe == "the job keeps running unchanged"
    assert refused.value.next == "give View(name='spending') version=2, then repeat this command"


def test_an_optional_field_of_another_type_is_refused_under_the_same_versions(
    cluster: Cluster, settings: Settings
) -> None:
    running = description_of(RUNNING_PROJECT, Options()).model_copy(update={"optional": {"note of events.pay": "long"}})
    cluster.parameters = {DESCRIPTION_PARAMETER: running.model_dump_json()}
    with pytest.raises(PenstockError, match=r"spending@1 differs .*: optional field note of events.pay is gone"):
        upgrade.upgrade(RUNNING_PROJECT, settings)


def test_an_uncommitted_record_schema_is_refused(cluster: Cluster, settings: Settings) -> None:
    with pytest.raises(PenstockError, match="records of the running job is not committed"):
        upgrade.upgrade(with_views(RUNNING.views[0]), settings)


def test_a_job_of_another_release_is_refused(cluster: Cluster, settings: Settings) -> None:
    cluster.parameters = {}
    with pytest.raises(PenstockError, match="another release submitted it"):
        upgrade.upgrade(RUNNING_PROJECT, settings)


def test_a_rescale_with_changed_definitions_is_refused(cluster: Cluster, settings: Settings) -> None:
    with pytest.raises(PenstockError, match="definitions are not those of the running job"):
        upgrade.rescale(with_views(RUNNING.views[0]), settings, 3)


def test_a_rescale_beyond_the_slots_is_refused(cluster: Cluster, settings: Settings) -> None:
    cluster.slots = 4
    with pytest.raises(PenstockError, match="Flink has 4 slots for this job, not 5"):
        upgrade.rescale(RUNNING_PROJECT, settings, 5)


def test_options_are_shown_as_command_line_arguments() -> None:
    assert Options().arguments() == ""
    options = Options(parallelism=3, exactly_once=True, state_backend="rocksdb")
    assert options.arguments() == " --parallelism 3 --exactly-once --state-backend rocksdb"


def test_a_job_description_is_read_back(cluster: Cluster) -> None:
    text = json.loads(cluster.parameters[DESCRIPTION_PARAMETER])
    assert Description.model_validate(text) == description_of(RUNNING_PROJECT, Options(parallelism=2))
