"""Every change of what is served is in the history, with its cause."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError
from scoring.alias_history import Cause, aliases, read_history, record_configured
from scoring.repository import ModelRepository
from scoring.version_loading import load_version, unload_version
from tests.scoring.fake_server import FakeServer
from tests.scoring.test_repository import trained
from tests.scoring.test_version_loading import RefusingServer


@pytest.fixture
def repository(tmp_path) -> ModelRepository:
    repository = ModelRepository(tmp_path / "models")
    for _ in range(3):
        repository.add("fraud", trained())
    record_configured(repository, "fraud", Cause("train", time_ms=1))
    return repository


def changes(repository):
    return [(one.alias, one.before, one.after, one.command) for one in read_history(repository, "fraud")]


def test_a_load_records_champion_and_previous(repository):
    load_version(repository, FakeServer(), "fraud", 2, cause=Cause("promote", "a hash", "a reason", 7))
    assert changes(repository) == [
        ("champion", None, 1, "train"),
        ("champion", 1, 2, "promote"),
        ("previous", None, 1, "promote"),
    ]
    latest = read_history(repository, "fraud")[-1]
    assert (latest.report, latest.override, latest.time_ms) == ("a hash", "a reason", 7)
    assert aliases(repository, "fraud") == {"champion": 2, "previous": 1}


def test_the_first_load_of_what_was_configured_has_a_line_and_the_next_one_none(repository):
    for _ in range(2):
        load_version(repository, FakeServer(), "fraud", 1)
    assert changes(repository) == [("champion", None, 1, "train"), ("champion", 1, 1, "load")]
    assert aliases(repository, "fraud") == {"champion": 1}


def test_a_refused_load_is_not_in_the_history(repository):
    with pytest.raises(PenstockError):
        load_version(repository, RefusingServer(), "fraud", 2)
    assert len(changes(repository)) == 1


def test_after_an_unload_nothing_has_an_alias_until_the_next_load(repository):
    unload_version(repository, FakeServer(), "fraud")
    assert changes(repository)[-1] == ("champion", 1, None, "unload")
    assert aliases(repository, "fraud") == {}
    load_version(repository, FakeServer(), "fraud", 1)
    assert changes(repository)[-1] == ("champion", None, 1, "load")
    assert aliases(repository, "fraud") == {"champion": 1}


def test_what_a_killed_load_changed_is_recorded_by_the_next_one(repository):
    repository.configure("fraud", 2)  # as a load that was killed before it could record
    load_version(repository, FakeServer(), "fraud", 3)
    assert [one for one in changes(repository) if one[0] == "champion"] == [
        ("champion", None, 1, "train"),
        ("champion", 1, 2, "not recorded"),
        ("champion", 2, 3, "load"),
    ]


def test_a_lost_change_is_no_later_than_the_one_that_follows_it(repository):
    repository.configure("fraud", 2)
    load_version(repository, FakeServer(), "fraud", 3, cause=Cause("promote", "a hash", time_ms=7))
    assert [one.time_ms for one in read_history(repository, "fraud")] == [1, 7, 7, 7, 7]


def test_an_unload_is_recorded_where_the_load_before_it_was_lost(repository):
    (repository.root / "fraud" / "history.jsonl").write_text('{"torn')
    unload_version(repository, FakeServer(), "fraud")
    assert changes(repository) == [("champion", None, 1, "not recorded"), ("champion", 1, None, "unload")]
    assert aliases(repository, "fraud") == {}


def test_a_changed_file_is_not_loaded(repository):
    before = repository.configuration("fraud")
    (repository.folder("fraud", 2) / "model.onnx").write_bytes(b"another model")
    with pytest.raises(PenstockError, match=r"file model\.onnx of the version has changed"):
        load_version(repository, FakeServer(), "fraud", 2)
    assert repository.configuration("fraud") == before


def test_a_line_that_is_no_change_is_named(repository):
    with (repository.root / "fraud" / "history.jsonl").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(PenstockError, match="a line that is no change") as caught:
        read_history(repository, "fraud")
    assert caught.value.where.endswith("line 2")
