import pytest

from scoring.rollout.completeness import Cut
from scoring.rollout.controller_store import Kept, Note
from scoring.rollout.facts import Facts
from scoring.rollout.judge import Judge
from scoring.rollout.policy_log import Marker, Refusal
from scoring.rollout.standing import Inherited, Standing
from scoring.rollout.transitions import By, begun, paused, promoted, rolled_back
from tests.scoring.rollout.rollout_records import BEGIN_MS, canary, change_to, define_rollout

LOG, LIVE = ("rollout.taps.log", 0), ("predictions.taps", 0)
STARTS = {LOG: 3, LIVE: 5}
BY = By("ada", "a test", BEGIN_MS)


class World:
    def __init__(self, folder) -> None:
        project = define_rollout(folder, "unit", 1)
        self.judge = Judge(Facts.of(project.pipeline))
        self.first = change_to(canary(project, 0.5, 1))
        self.second = change_to(canary(project, 0.2, 1), self.first)
        self.state = self.judge.begin(self.first)

    def standing(self, change=None, **note) -> Standing:
        return Standing.begin(self.judge, Note(change=change, **note), None, STARTS)

    def kept(self, policy, note) -> Kept:
        return Kept(policy, note, self.state.records())


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_the_same_policy_goes_on_with_what_was_seen(world):
    note = Note(change=world.first, ahead=False, promoted=1)
    inherited = Inherited.of(world.kept(world.first, note))
    assert inherited.note == note
    assert inherited.seen.policy == world.first.policy.hash
    assert (inherited.is_first, inherited.lost) == (False, None)


def test_another_policy_is_ahead_of_the_log_and_a_promotion_that_it_takes_back_is_forgotten(world):
    note = Note(change=world.first, ahead=False, promoted=7)
    inherited = Inherited.of(world.kept(world.second, note))
    assert inherited.note == Note(change=world.second, ahead=True, promoted=None)
    assert inherited.lost is None


def test_after_a_pause_what_was_seen_goes_on(world):
    pause = paused(world.first, BY)
    inherited = Inherited.of(world.kept(pause, Note(change=world.first, ahead=False)))
    standing = Standing.begin(world.judge, inherited.note, inherited.seen, STARTS)
    assert standing.state is inherited.seen


def test_a_state_that_cannot_be_read_is_lost_only_for_the_policy_that_it_is_of(world):
    note = Note(change=world.first, ahead=False)
    assert "cannot be read" in Inherited.of(Kept(world.first, note, {})).lost
    assert Inherited.of(Kept(world.second, note, {})).lost is None


def test_without_a_note_this_is_the_first_controller(world):
    assert Inherited.of(Kept(world.first, None, {})) == Inherited(Note(change=world.first), None, is_first=True)
    assert Inherited.of(Kept(None, None, {})) == Inherited(Note(ahead=False), None, is_first=True)
    assert not Inherited.of(Kept(world.first, Note(ahead=False), {})).is_first


def test_nothing_is_judged_without_a_policy_or_after_the_end(world):
    ended = rolled_back(world.first, BY, [])
    for standing in (world.standing(), world.standing(ended)):
        assert standing.state is None
        assert standing.versions == ()
        assert standing.decide(BEGIN_MS) is None
        assert standing.records() == {}
    # What is left of it is not needed by what comes next.
    assert Inherited.of(world.kept(world.first, Note(change=ended))).seen is None


def test_changes_in_the_log_are_passed_over_until_the_present_one_has_come(world):
    standing = world.standing(world.second, ahead=True)
    assert standing.follow([world.first])
    assert standing.note.ahead
    assert standing.follow([world.second])
    assert not standing.note.ahead
    assert standing.follow([world.second])


def test_a_change_behind_the_present_one_is_somebody_elses(world):
    assert not world.standing(world.first, ahead=False).follow([world.second])
    assert not world.standing(world.first, ahead=True).follow([world.first, world.second])
    assert not world.standing(None, ahead=False).follow([world.first])


def test_what_scorers_say_in_the_log_reaches_the_judge(world):
    standing = world.standing(world.first)
    standing.news = False
    assert standing.follow([Marker(partition=0, first_offset=9, policy=world.first.policy.hash)])
    assert standing.state.markers == {0: 9}
    assert standing.news


@pytest.mark.parametrize("batches", [1, 2])
def test_a_refusal_before_the_policy_was_published_once_more_is_none_of_it(world, batches):
    of = {"policy": world.first.policy.hash}
    refusal = Refusal(instance="s-1", reason="it is not loaded", time_ms=BEGIN_MS, **of)
    ended = rolled_back(world.first, BY, [])
    again = begun(world.first.policy.policy, ended, BY)
    assert again.policy == world.first.policy
    before = [world.first, refusal, Marker(partition=0, first_offset=3, **of), ended]
    after = [again, Marker(partition=0, first_offset=9, **of)]
    standing = world.standing(again, ahead=True)
    for entries in ([*before, *after],) if batches == 1 else (before[:2], before[2:], after):
        assert standing.follow(entries)
    assert standing.state.refusal is None
    assert standing.state.markers == {0: 9}
    assert standing.decide(BEGIN_MS) is None


def test_what_scorers_said_before_a_pause_stays(world):
    standing = world.standing(paused(world.first, BY), ahead=True)
    assert standing.follow([world.first, Marker(partition=0, first_offset=9, policy=world.first.policy.hash)])
    assert standing.follow([standing.change])
    assert standing.state.markers == {0: 9}


def test_positions_only_advance_and_are_unsaved_until_they_are_saved(world):
    standing = world.standing(world.first)
    assert standing.unsaved == STARTS
    assert not standing.is_saved
    standing.saved()
    assert standing.is_saved
    standing.advance({LIVE: 4, LOG: 3})
    assert standing.is_saved
    standing.advance({LIVE: 8})
    assert (standing.unsaved, standing.positions) == ({LIVE: 8}, {LOG: 3, LIVE: 8})


def test_what_the_judge_was_told_is_to_be_saved_and_is_told_once(world):
    standing = world.standing(world.first)
    standing.saved()
    standing.completeness.add({0: Cut(7, {LIVE: 5})})
    standing.complete()
    assert standing.state.complete == {0: 7}
    assert not standing.is_saved
    standing.saved()
    standing.completeness.add({0: Cut(7, {LIVE: 5})})
    standing.complete()
    assert standing.is_saved


def test_a_note_that_has_changed_is_to_be_saved(world):
    standing = world.standing(world.first, promoted=2)
    standing.saved()
    standing.made_current()
    assert not standing.is_saved
    assert standing.note.promoted is None


def test_after_a_decision_the_next_policy_begins_ahead_of_the_log_at_the_same_positions(world):
    standing = world.standing(world.first, ahead=False)
    standing.saved()
    standing.advance({LIVE: 8})
    following = standing.following(world.second)
    assert following.note == Note(change=world.second, ahead=True)
    assert following.state.policy == world.second.policy.hash
    assert (following.positions, following.unsaved) == ({LOG: 3, LIVE: 8}, {LIVE: 8})
    # If it cannot be written, nothing of the old one has changed.
    assert standing.note == Note(change=world.first, ahead=False)


@pytest.mark.parametrize(
    ("ends", "promoted_version"),
    [(lambda change: promoted(change, BY, "next"), 2), (lambda change: rolled_back(change, BY, []), None)],
)
def test_a_promotion_is_noted_until_the_version_is_the_current_one(world, ends, promoted_version):
    following = world.standing(world.first).following(ends(world.first))
    assert following.note.promoted == promoted_version
    assert following.state is None
