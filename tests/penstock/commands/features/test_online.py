"""`penstock features get` says why there is nothing to show, and shows what there is."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli
from penstock.commands.features import named_entity
from penstock.commands.features.online import value_text
from penstock.errors import PenstockError
from sinks.emitted_vectors import EmittedVector
from sinks.vector_format import VectorFormat
from streams.plan.project import open_project


class Stored:
    """A Redis whose every key has this value, and whose user may only MGET."""

    def __init__(self, value: bytes | None) -> None:
        self._value = value

    def mget(self, keys: list[str]) -> list[bytes | None]:
        return [self._value for _ in keys]


def get(monkeypatch: pytest.MonkeyPatch, stored: bytes | None, *options: str) -> Result:
    monkeypatch.setattr(named_entity, "connect_redis", lambda _: Stored(stored))
    return CliRunner().invoke(cli, ["features", "get", "fraud", "card_spend", "4242", *options])


def vector(as_of: int) -> bytes:
    view = open_project("fraud").plan.view("card_spend")
    record = {"entity": "4242", "epoch": 1, "seq": 1, "as_of": as_of, "late": False}
    return VectorFormat(view).pack(EmittedVector(view, "e", 1, record | {f.name: f.empty for f in view.outputs}))


def test_a_vector_of_another_definition_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = get(monkeypatch, b"\x01" + bytes(60))
    assert isinstance(shown.exception, PenstockError)
    assert "another definition of card_spend@1 wrote it" in shown.exception.what
    assert "penstock schemas check fraud" in (shown.exception.next or "")
    assert "MISSING" not in shown.output


def test_where_nothing_is_stored_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = get(monkeypatch, None)
    assert (shown.exit_code, "MISSING" in shown.output) == (1, True)
    assert "nothing is stored for card 4242: it had no event yet" in shown.output
    assert "not processed yet: see penstock topics show fraud" in shown.output


def test_the_help_of_at_says_that_it_is_no_history() -> None:
    shown = " ".join(CliRunner().invoke(cli, ["features", "get", "--help"]).output.split())
    assert "It is not the vector of that time" in shown
    assert "earlier ones are in Cassandra" in shown


def test_a_time_before_the_vector_is_refused_because_only_the_latest_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = get(monkeypatch, vector(1_772_366_400_850), "--at", "2026-03-01T12:00:00.849Z")
    assert isinstance(shown.exception, PenstockError)
    assert "has the latest vector only, as of 2026-03-01T12:00:00.850Z" in shown.exception.what
    assert "it cannot say how card 4242 read at 2026-03-01T12:00:00.849Z" in shown.exception.what
    assert "features_fraud_card_spend_v1 in Cassandra" in (shown.exception.next or "")


def test_the_time_of_the_vector_itself_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = get(monkeypatch, vector(1_772_366_400_850), "--at", "2026-03-01T12:00:00.850Z")
    assert (shown.exit_code, "PRESENT" in shown.output) == (0, True)


def test_a_text_cannot_control_the_terminal() -> None:
    assert value_text("a\x1b[31m\n\0é ").plain == r"a\x1b[31m\n\x00é "
    assert value_text(["a\x9b31m", "é"]).plain == r'["a\x9b31m", "é"]'
