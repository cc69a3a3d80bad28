"""`penstock rollout show | history | at | diff` say what is published, who follows it, and what served whom."""

from __future__ import annotations

import pytest

from penstock.errors import PenstockError
from scoring.rollout.policy_log import Refusal
from tests.penstock.commands.rollout.conftest import CANARY, SIGNED, World


def test_without_a_policy_all_commands_say_so(world: World) -> None:
    assert "no policy was published" in world.run("show").output
    assert world.run("history").output == "no policy was published\n"
    assert "no policy was effective" in world.run("at", "0@7").output
    assert (world.shown("show")["present"], world.shown("history"), world.shown("at", "0@7")) == (None, [], None)
    assert world.run("diff", "-f", world.file()).exit_code == 3


def test_who_published_a_policy_and_which_partitions_follow_it_is_shown(world: World) -> None:
    world.apply()
    world.taken_up(0, 100)
    output = world.run("show").output
    assert f"policy      {world.present.policy.version}: canary, step 1 of 2, running" in output
    assert "by ada\n" in output
    assert "because     a try\n" in output
    assert "in shadow: version 3\n" in output
    assert "taken up    by 1 of 2 partitions\n" in output
    assert "partition 1 has scored no event under any policy\n" in output


def test_a_partition_that_is_behind_and_a_scorer_that_refuses_are_named(world: World) -> None:
    world.apply()
    world.taken_up(0, 100)
    before = world.present.policy
    world.run("promote", *SIGNED)
    world.log.write(Refusal(instance="scorer-1", policy=world.present.policy.hash, reason="no \x1b[2J file", time_ms=1))
    output = world.run("show").output
    assert f"partition 0 is still under {before.version}, since offset 100\n" in output
    assert "by scorer scorer-1 at 1970-01-01 00:00:00 UTC: no \\x1b[2J file\n" in output
    shown = world.shown("show")
    assert shown["partitions"] == {"0": {"policy": before.hash, "first_offset": 100}}
    assert [refusal["instance"] for refusal in shown["refusals"]] == ["scorer-1"]
    assert (shown["present"]["status"], shown["present"]["weights"]) == ("ended", {"other": 1.0})


def test_a_file_is_compared_with_what_is_published(world: World) -> None:
    world.apply()
    assert f"{world.file()} declares the same\n" in world.run("show", "-f", world.file()).output
    output = world.run("show", "-f", world.file(shadow=[])).output
    assert "shadow is 3, and none in the file\n" in output
    assert world.shown("show", "-f", world.file(shadow=[]))["differs"] == ["shadow is 3, and none in the file"]


@pytest.mark.parametrize(("shadow", "code", "said"), [([3], 0, ""), ([4], 3, "shadow is 3, and 4 in the file\n")])
def test_a_difference_is_an_exit_code(world: World, shadow: list[int], code: int, said: str) -> None:
    world.apply()
    done = world.run("diff", "-f", world.file(shadow=shadow))
    assert (done.exit_code, done.output) == (code, said)


def test_the_history_has_every_change_with_its_reason_and_what_it_changed(world: World) -> None:
    world.apply()
    first = world.present.policy.version
    world.run("promote", "--reason", "it is better", "--author", "bob")
    output = world.run("history").output
    assert f"by ada: {first}\n" in output
    assert f"by bob: {first} → {world.present.policy.version}\n" in output
    assert "canary, step 1 of 2, running → shadow, ended, " in output
    assert "present 100 % of version 1 → nothing, other (version 2) 0 % → 100 %" in output
    assert "the champion is version 2, no more 1, in shadow 3 → none\n" in output
    assert "because   it is better\n" in output
    assert [change["author"] for change in world.shown("history")] == ["ada", "bob"]


def test_the_history_says_which_steps_are_others(world: World) -> None:
    first, second = CANARY["steps"]
    world.apply()
    world.apply("--again", steps=[first, second | {"weight": 0.1, "most_time": "2h"}, second | {"weight": 0.5}])
    changed = world.run("history").output.split("  changed")[-1]
    assert "step 2 weight 5 % → 10 %, most_time 1h → 2h, step 3 is new: weight 50 %, least_events 10, " in changed
    world.apply("--again", steps=[first])
    assert "step 2 (10 %) is gone, step 3 (50 %) is gone" in world.run("history").output.split("  changed")[-1]


def test_evidence_is_cut_unless_it_is_wanted_whole(world: World) -> None:
    world.apply()
    evidence = {"losses": {"n": 9_900, "interval": [-0.1, 0.02]}, "more": "x" * 300}
    world.log.write(world.present.model_copy(update={"evidence": evidence, "previous": world.present.policy.hash}))
    short, whole = world.run("history").output, world.run("history", "--evidence").output
    assert '{"losses": {"n": 9900, "interval": [-0.1, 0.02]}' in short
    assert "(all of it: history --evidence)" in short
    assert "x" * 300 not in short
    assert "x" * 300 in whole


def test_the_policy_at_an_offset_is_that_of_the_marker_before_it(world: World) -> None:
    world.apply()
    first = world.present.policy.version
    world.taken_up(1, 100)
    world.run("promote", *SIGNED)
    world.taken_up(1, 200)
    assert f"features.taps_rollout[1]@199: policy {first}, canary" in world.run("at", "1@199").output
    topic = world.pipeline.features_topic
    output = world.run("at", f"{topic}[1]@200").output
    assert f"policy {world.present.policy.version}, shadow, ended\n" in output
    assert "(rollout.taps_rollout.log[0]@4)\n" in output
    assert world.shown("at", "1@200")["marker_offset"] == 6
    assert "no policy was effective" in world.run("at", "1@99").output


def test_the_arm_of_an_entity_is_said(world: World) -> None:
    world.apply()
    world.taken_up(0, 0)
    output = world.run("at", "0@5", "--entity", "card-1").output
    assert "card-1 has arm present, version 1, with probability 1; not explored, with propensity 1\n" in output
    assert world.shown("at", "0@5", "--entity", "card-1")["entity"]["arm"] == "present"


def test_a_place_of_another_topic_is_no_place_where_a_policy_is_effective(world: World) -> None:
    world.apply()
    world.taken_up(0, 0)
    with pytest.raises(PenstockError, match="is not the features topic"):
        world.run("at", f"{world.pipeline.predictions_topic}[0]@5")


@pytest.mark.parametrize("text", ["5", "@5", "0@", "a@b", "0@-1", "t[0@5", "0]@5"])
def test_a_place_that_is_none_is_refused(world: World, text: str) -> None:
    assert world.run("at", "--", text).exit_code == 2


def test_a_file_that_is_no_policy_is_an_error_that_names_it(world: World) -> None:
    with pytest.raises(PenstockError) as refused:
        world.run("diff", "-f", world.file(mode="green"))
    assert "mode" in refused.value.what
