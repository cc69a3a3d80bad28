import pytest

from penstock.errors import PenstockError
from scoring.rollout import promotion
from scoring.rollout.promotion import Promotions


class InlineThread:
    """A thread that has ended when it is started."""

    def __init__(self, target, args, **_options):
        self._run = lambda: target(*args)

    def start(self):
        self._run()

    def is_alive(self):
        return False


class Rig:
    def __init__(self, *failures: Exception) -> None:
        self.now = 0.0
        self.asked: list[int] = []
        self._failures = list(failures)
        self.wrong: Exception | None = None
        self.promotions = Promotions(self._verify, self._make_current, "fraud", lambda: self.now)

    def _verify(self, version: int) -> None:
        assert version == 4
        if self.wrong is not None:
            raise self.wrong

    def _make_current(self, version: int) -> None:
        self.asked.append(version)
        if self._failures:
            raise self._failures.pop(0)


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    monkeypatch.setattr(promotion.threading, "Thread", InlineThread)


def test_a_version_is_made_current_once():
    rig = Rig()
    assert [rig.promotions.advance(4) for _ in range(2)] == [False, True]
    assert rig.asked == [4]


def test_a_version_that_is_promoted_again_is_made_current_again():
    rig = Rig()
    assert [rig.promotions.advance(4) for _ in range(2)] == [False, True]
    rig.now = 31.0
    assert [rig.promotions.advance(4) for _ in range(2)] == [False, True]
    assert rig.asked == [4, 4]


@pytest.mark.parametrize("failure", [PenstockError("Triton is down"), OSError("Triton is down")])
def test_what_fails_is_told_and_tried_again_later(failure, caplog):
    rig = Rig(failure)
    assert [rig.promotions.advance(4) for _ in range(2)] == [False, False]
    assert rig.asked == [4]
    assert "Triton is down" in caplog.text
    assert "penstock model load fraud --version 4" in caplog.text
    rig.now = 31.0
    assert [rig.promotions.advance(4) for _ in range(2)] == [False, True]
    assert rig.asked == [4, 4]


def test_while_a_version_is_being_made_current_nothing_waits(monkeypatch):
    monkeypatch.setattr(InlineThread, "start", lambda _self: None)
    monkeypatch.setattr(InlineThread, "is_alive", lambda _self: True)
    rig = Rig()
    rig.promotions.advance(4)
    rig.now = 100.0
    assert not rig.promotions.advance(5)
    assert rig.asked == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, None),
        (PenstockError("there is no version 4"), "there is no version 4"),
        (OSError("no such disk"), "its files cannot be read: no such disk"),
    ],
)
def test_a_version_that_is_not_as_it_was_written_cannot_be_promoted(wrong, said):
    rig = Rig()
    rig.wrong = wrong
    assert rig.promotions.why_not(4) == said
    assert rig.asked == []
