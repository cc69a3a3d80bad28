"""What is noted with a committed offset is read back, by earlier releases as far as they know it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.commit_note import CommitNote
from scoring.look_back import Ends, LookBack, Mark

HASH = "5f" * 32
offsets = st.integers(0, 2**63 - 1)
look_backs = st.builds(
    LookBack,
    st.integers(-1, 2**63 - 1),
    st.lists(st.builds(Mark, offsets, st.builds(Ends, offsets, offsets)), max_size=16).map(tuple),
)
notes = st.builds(CommitNote, st.none() | look_backs, st.none() | st.just(HASH))


@given(notes)
def test_a_note_is_read_back_as_it_was_and_the_broker_takes_it(note: CommitNote) -> None:
    assert CommitNote.load(note.dump()) == note
    assert len(note.dump()) < 1_200


@given(notes)
def test_a_scorer_of_an_earlier_release_finds_how_far_back_answers_lie(note: CommitNote) -> None:
    assert LookBack.load(note.dump()) == note.look_back


@given(look_backs)
def test_a_scorer_finds_what_one_of_an_earlier_release_has_noted(look_back: LookBack) -> None:
    assert CommitNote.load(look_back.dump()) == (look_back, None)


def test_nothing_to_note_is_no_text() -> None:
    assert CommitNote(None, None).dump() == ""


@pytest.mark.parametrize(
    "metadata",
    [None, "", "another tool's", "[]", "7", "null", "{}", '{"policy":7}', '{"policy":null}', '{"penstock":9}'],
)
def test_of_what_another_tool_has_committed_nothing_is_known(metadata: str | None) -> None:
    assert CommitNote.load(metadata) == (None, None)
