"""`penstock rollout` changes the policy: what is published is loaded, and a repeated command changes nothing."""

from __future__ import annotations

import getpass
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.commands.rollout import changing
from penstock.errors import PenstockError
from scoring import repository
from scoring.alias_history import read_history
from scoring.rollout.transitions import By, begun
from scoring.servers.protocol import ModelServerUnavailable
from streams.definitions.loading import load_pipeline
from streams.plan.project import open_project
from tests.penstock.commands.rollout.conftest import ALONE, CANARY, SIGNED, World, declared

AB = {
    "mode": "ab",
    "steps": [],
    "arms": [
        {"name": "present", "version": 1, "role": "champion", "weight": 0.5},
        {"name": "red", "version": 2, "weight": 0.25},
        {"name": "blue", "version": 4, "weight": 0.25},
    ],
}


def test_a_policy_is_loaded_and_published_with_its_author_and_reason(world: World) -> None:
    output = world.apply().output
    assert world.server.loaded == (1, 2, 3)
    assert (world.present.author, world.present.reason, world.present.policy.policy) == ("ada", "a try", declared())
    assert f"{world.present.policy.version}: canary, step 1 of 2, running" in output
    assert "present  version 1, champion: 100 %" in output
    assert "other    version 2: 0 %" in output
    assert f"next: penstock rollout show {world.reference}" in output


def test_the_same_file_again_changes_nothing(world: World) -> None:
    world.apply()
    before = loads(world)
    done = world.apply()
    assert (done.exit_code, done.output) == (0, "this policy is published: nothing to do\n")
    assert (len(world.log.changes), loads(world)) == (1, before)


def loads(world: World) -> int:
    return sum(call[0] == "load" for call in world.server.calls)


def test_the_same_file_again_loads_a_version_that_the_server_has_lost(world: World) -> None:
    world.apply()
    world.server.loaded = (1,)
    world.apply()
    assert (len(world.log.changes), world.server.loaded) == (1, (1, 2, 3))


def test_the_same_file_again_needs_no_server(world: World) -> None:
    world.apply()
    world.server.failure = ModelServerUnavailable("Triton does not answer")
    done = world.apply()
    assert (done.exit_code, done.output) == (0, "this policy is published: nothing to do\n")


def test_another_champion_than_the_present_one_is_refused_unless_it_is_meant(world: World) -> None:
    other = [{"name": "present", "version": 2, "role": "champion"}, {"name": "other", "version": 3}]
    with pytest.raises(PenstockError, match="the champion of the file is version 2, and version 1 is the one now"):
        world.apply(arms=other)
    assert world.log.changes == []
    world.apply("--switch", arms=other)
    assert world.present.policy.policy.champion.version == 2


def test_a_dry_run_says_what_would_be_published_and_changes_nothing(world: World) -> None:
    world.apply(shadow=[])
    output = world.apply("--dry-run").output
    assert "shadow is none, and 3 in the file\nwould publish " in output
    assert (len(world.log.changes), world.server.loaded) == (1, (1, 2))


def test_versions_that_are_followed_until_then_stay_loaded(world: World) -> None:
    world.apply(**AB)
    world.apply(**CANARY)
    assert world.server.loaded == (1, 2, 3, 4)
    world.apply(**ALONE)
    assert world.server.loaded == (1, 2, 3)


def test_a_version_that_cannot_be_loaded_is_not_published(world: World) -> None:
    world.server.unready = (3,)
    with pytest.raises(PenstockError, match="cannot load version 3"):
        world.apply()
    assert world.log.changes == []


def test_versions_of_a_policy_that_another_publishes_meanwhile_are_loaded_too(world: World) -> None:
    def another() -> None:
        change = begun(declared(**AB), world.log.present, By("bob", "first", 1))
        assert change is not None
        world.log.write(change)

    world.log.meanwhile = another
    world.apply()
    assert [change.author for change in world.log.changes] == ["bob", "ada"]
    assert world.server.loaded == (1, 2, 3, 4)


def test_the_steps_of_a_canary_may_be_left_out(world: World) -> None:
    world.apply(steps=[])
    assert [step.weight for step in world.present.policy.policy.steps] == [0, 0.01, 0.05, 0.2, 0.5, 1]
    assert "nothing to do" in world.apply(steps=[]).output


def test_a_canary_without_steps_has_those_of_its_pipeline(world: World) -> None:
    with_steps = """
from penstock import Rollout, Step

step = Step(weight=0.3, least_events=5, least_time="1m", most_time="1h")
pipeline = pipeline.model_copy(update={"rollout": Rollout(steps=(step,))})
"""
    file = world.folder / "with_steps.py"  # a file that was loaded before is not read again
    file.write_text(Path(world.reference).read_text(encoding="utf-8") + with_steps, encoding="utf-8")
    world.reference = str(file)
    world.apply(steps=[])
    assert [step.weight for step in world.present.policy.policy.steps] == [0.3]
    assert world.run("diff", "-f", world.file(steps=[])).output == ""


def test_without_an_author_it_is_the_user_at_the_host(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_AUTHOR", raising=False)
    world.run("apply", "-f", world.file(), "--reason", "a try")
    assert world.present.author == f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.mark.parametrize(
    "signed",
    [
        ("--reason", " "),
        ("--reason", "why", "--author", ""),
        ("--reason", "why", "--author", " controller "),
        ("--reason", "not \udcff UTF-8"),
        (),
    ],
)
def test_a_change_needs_a_reason_and_an_author(world: World, signed: tuple[str, ...]) -> None:
    assert world.run("apply", "-f", world.file(), *signed).exit_code == 2
    assert world.log.changes == []


def test_a_paused_rollout_is_resumed_at_its_step(world: World) -> None:
    world.apply()
    world.run("pause", *SIGNED)
    assert (world.present.status, world.present.policy) == ("paused", world.log.changes[0].policy)
    assert world.run("pause", *SIGNED).output == "it is paused already: nothing to do\n"
    world.run("resume", *SIGNED)
    assert [change.status for change in world.log.changes] == ["running", "paused", "running"]


def test_a_promoted_candidate_becomes_the_current_version_and_the_old_champion_stays_loaded(world: World) -> None:
    world.apply()
    world.run("promote", *SIGNED)
    assert (world.present.policy.policy.champion.version, world.present.status) == (2, "ended")
    assert (world.current, world.server.loaded) == (2, (1, 2, 3))
    *_, champion = (change for change in read_history(world.repository, "taps_rollout") if change.alias == "champion")
    assert (champion.before, champion.after, champion.command) == (1, 2, "rollout")


def test_a_version_that_was_deleted_is_not_promoted_and_its_policy_is_rolled_back_first(world: World) -> None:
    world.apply()
    shutil.rmtree(world.repository.root / "taps_rollout" / "2")
    with pytest.raises(PenstockError, match="has no version 2") as refused:
        world.run("promote", *SIGNED)
    assert refused.value.safe == "the policy is as it was"
    with pytest.raises(PenstockError, match="version 2 of the policy that is followed now") as refused:
        world.apply(**ALONE)
    assert f"penstock rollout rollback {world.reference}" in str(refused.value.next)
    assert len(world.log.changes) == 1
    world.run("rollback", *SIGNED)
    world.apply(**AB | {"arms": [AB["arms"][0], AB["arms"][2] | {"weight": 0.5}]})
    assert world.present.policy.policy.versions == (1, 3, 4)


def test_a_version_beyond_what_a_server_has_is_refused(world: World) -> None:
    with pytest.raises(PenstockError, match=r"arms\[1\]\.version"):
        world.apply(arms=[CANARY["arms"][0], {"name": "other", "version": 10**300}])


def test_of_several_candidates_the_named_one_is_promoted(world: World) -> None:
    world.apply(**AB)
    with pytest.raises(PenstockError, match="which candidate"):
        world.run("promote", *SIGNED)
    world.run("promote", *SIGNED, "--arm", "blue")
    assert world.current == 4


def test_a_rollback_ends_a_rollout_with_its_champion_and_needs_no_server(world: World) -> None:
    world.apply()
    world.server.failure = ModelServerUnavailable("Fake does not answer")
    world.run("rollback", *SIGNED)
    assert (world.present.policy.policy.versions, world.present.status) == ((1,), "ended")


def test_a_rollback_after_a_promotion_goes_back_to_the_champion_before_it(world: World) -> None:
    world.apply()
    world.run("promote", *SIGNED)
    world.run("rollback", *SIGNED)
    assert (world.present.policy.policy.champion.version, world.current) == (1, 1)
    assert world.server.loaded == (1, 2, 3)
    assert "nothing to do" in world.run("rollback", *SIGNED).output
    assert (len(world.log.changes), world.current) == (3, 1)


def test_a_rollback_without_the_server_is_published_and_says_what_is_left_to_do(world: World) -> None:
    world.apply()
    world.run("promote", *SIGNED)
    world.server.failure = ModelServerUnavailable("Fake does not answer")
    output = world.run("rollback", *SIGNED).output
    assert world.present.policy.policy.champion.version == 1
    assert "version 1 is not the current one: Fake does not answer" in output
    assert f"penstock model load {world.reference} --version 1" in output


@pytest.mark.parametrize("end", ["rollback", "promote"])
def test_a_rollout_that_has_ended_does_not_begin_again_by_itself(world: World, end: str) -> None:
    world.apply()
    world.run(end, "--reason", "it is over", "--author", "bob")
    done = world.apply()
    assert (done.exit_code, len(world.log.changes)) == (0, 2)
    assert "this rollout has ended" in done.output
    assert "by bob: it is over" in done.output
    world.apply("--again", "--switch")
    assert world.present.policy.policy == declared()


@pytest.mark.parametrize("command", ["show", "pause", "resume", "promote"])
def test_where_the_policy_is_garbage_commands_say_which_one_repairs_it(world: World, command: str) -> None:
    world.apply()
    world.log.has_garbage = True
    with pytest.raises(PenstockError, match="it is no JSON") as refused:
        world.run(command, *(() if command == "show" else SIGNED))
    assert f"penstock rollout apply {world.reference} -f FILE" in str(refused.value.next)
    assert len(world.log.changes) == 1


@pytest.mark.parametrize("shadow", [[3], [4]])
def test_garbage_is_replaced_by_a_file_whether_it_is_the_log_s_last_policy_or_another(
    world: World, shadow: list[int]
) -> None:
    world.apply()
    world.run("pause", *SIGNED)
    world.log.has_garbage = True
    done = world.apply("--dry-run", shadow=shadow)
    assert "rollout[0]@7 is no policy, and would be replaced: it is no JSON\n" in done.output
    assert world.log.has_garbage
    world.apply(shadow=shadow)
    assert (world.log.has_garbage, len(world.log.changes)) == (False, 3)
    assert world.present.previous == world.log.changes[1].policy.hash
    assert world.present.policy.policy == declared(shadow=shadow)
    assert world.present.status == ("paused" if shadow == [3] else "running")


def test_garbage_is_replaced_by_a_file_whose_rollout_has_ended_without_beginning_it_again(world: World) -> None:
    world.apply()
    world.run("rollback", *SIGNED)
    world.log.has_garbage = True
    world.apply()
    assert (world.present.status, world.present.policy) == ("ended", world.log.changes[1].policy)


def test_a_rollback_replaces_garbage_also_where_there_is_nothing_to_roll_back(world: World) -> None:
    world.apply()
    world.log.has_garbage = True
    world.run("rollback", *SIGNED)
    assert (world.log.has_garbage, world.present.policy.policy.versions) == (False, (1,))
    world.log.has_garbage = True
    world.run("rollback", *SIGNED)
    assert (world.log.has_garbage, len(world.log.changes), world.present.status) == (False, 3, "ended")


def test_the_files_of_each_version_are_hashed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(repository, "verify_files", lambda folder: hashed.append(folder.name))
    world.apply()
    assert sorted(hashed) == ["1", "2", "3"]
    hashed.clear()
    world.apply(**AB)
    assert sorted(hashed) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("changed", "horizon_ms", "warned"),
    [(CANARY, 3_600_000, True), (CANARY, 3_599_999, False), (CANARY, None, False), (ALONE, 10**12, False)],
)
def test_a_step_in_shadow_that_ends_before_labels_are_final_is_warned_of(
    changed: dict[str, Any], horizon_ms: int | None, *, warned: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = load_pipeline("fraud").labels
    assert declared is not None
    opened, labels = open_project(world.reference), declared.model_copy(update={"horizon": horizon_ms})
    pipeline = opened.pipeline.model_copy(update={"labels": labels})
    monkeypatch.setattr(changing, "open_project", lambda _: replace(opened, pipeline=pipeline))
    output = world.apply("--dry-run", **changed).output
    assert ("quality is not known before the step in shadow pauses" in output) is warned
