"""The versions that a policy names take their seats: each is opened once, and stays in its role."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from scoring.hosted_inference import NoScoresNow
from scoring.inference import Inference
from scoring.prediction_format import ModelIdentity
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, publish
from scoring.seating import Seating
from scoring.served import Deadlines, Served, ServedModel
from scoring.unbacked_inference import NoScoresInTime, UnbackedInference
from streams.plan.compiler import compile_plan
from tests.scoring.fake_server import FakeServer
from tests.scoring.line_ups import MODEL, ab, metadata
from tests.scoring.scorer_bench import define


class FakeVersions:
    """Records which versions are opened; those in ``broken`` cannot be."""

    def __init__(self, server: FakeServer | None = None, *, hosted: bool = False) -> None:
        self.opened: list[int | None] = []
        self.backed: list[int] = []
        self.broken: set[int] = set()
        self.kept: list[str] = []
        self._server = server or FakeServer()
        self._hosted = hosted

    def current(self) -> Served:
        self.opened.append(None)
        return self._served(7)

    def version(self, number: int, *, is_backed: bool) -> Served:
        self.opened.append(number)
        self.backed += [number] * is_backed
        if number in self.broken:
            raise PenstockError("it cannot be loaded")
        return self._served(number)

    def keep_only(self, models: Iterable[ModelIdentity]) -> None:
        self.kept = sorted({model.version for model in models})

    def _served(self, number: int) -> Served:
        fallback = None if self._hosted else self._server
        return Served(ServedModel(self._server, fallback, metadata(number), None), None)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pipeline = define(tmp_path_factory.mktemp("pipeline"), "seats", partitions=1)[1]
    return SimpleNamespace(pipeline=pipeline, plan=compile_plan(pipeline), other_views=())


def seating(project: Any, versions: FakeVersions) -> Seating:
    topic = project.pipeline.predictions_topic
    largest = {topic: 5_000, project.pipeline.shadow_topic: 4_000, dead_letters_of(topic): 9_000}
    return Seating(project, versions, Deadlines(0.2, 0.4), largest, lambda _: None)  # type: ignore[arg-type]


def promoted(*, shadow: tuple[int, ...] = ()) -> PublishedPolicy:
    """Version 2 has become the champion."""
    arms = (Arm(name="b", version=2, role="champion"),)
    return publish(RolloutPolicy(pipeline="taps", mode="shadow", salt="taps/arms", arms=arms, shadow=shadow))


def test_without_a_policy_the_current_version_has_the_only_seat(project: Any) -> None:
    versions = FakeVersions()
    line_up = seating(project, versions).line_up(None)
    assert (line_up.published, line_up.models, line_up.shadows) == (None, [ModelIdentity(MODEL, "7")], ())
    assert versions.opened == [None]


def test_arms_write_to_the_predictions_topic_and_shadows_to_theirs_as_long_as_it_takes(project: Any) -> None:
    line_up = seating(project, FakeVersions()).line_up(ab(0.5, 0.5, shadow=(3, 4)))
    pipeline = project.pipeline
    assert [seat.models[0].version for seat in line_up.arms] == ["1", "2"]
    assert [seat.models[0].version for seat in line_up.shadows] == ["3", "4"]
    assert {(seat.writer.topic, seat.writer.max_bytes) for seat in line_up.arms} == {
        (pipeline.predictions_topic, 5_000)
    }
    assert {(seat.writer.topic, seat.writer.max_bytes) for seat in line_up.shadows} == {(pipeline.shadow_topic, 4_000)}
    assert {seat.writer.dead_letter_topic for seat in line_up.arms} == {dead_letters_of(pipeline.predictions_topic)}
    assert [type(seat.inference) for seat in line_up.arms] == [Inference, UnbackedInference]
    assert {type(seat.inference) for seat in line_up.shadows} == {UnbackedInference}
    line_up.close()


def test_a_version_that_has_the_same_role_again_keeps_its_seat_and_the_others_are_opened(project: Any) -> None:
    versions = FakeVersions()
    seats = seating(project, versions)
    before = seats.line_up(ab(0.5, 0.5, shadow=(3,)))
    assert versions.opened == [1, 2, 3]
    after = seats.line_up(ab(0.6, 0.4, shadow=(3, 4)))
    assert versions.opened == [1, 2, 3, 4]
    assert after.arms == before.arms
    assert after.shadows[0] is before.shadows[0]
    assert seats.line_up(promoted()).arms[0] is not before.arms[1]
    assert versions.opened == [1, 2, 3, 4, 2]
    for line_up in (before, after):
        line_up.close()


def test_a_version_in_two_roles_is_opened_once_and_has_two_seats(project: Any) -> None:
    versions = FakeVersions()
    line_up = seating(project, versions).line_up(promoted(shadow=(2,)))
    assert versions.opened == [2]
    assert line_up.arms[0].inference is not line_up.shadows[0].inference
    line_up.close()


def test_a_version_in_two_arms_has_one_seat_in_each_role(project: Any) -> None:
    """An A/A test: the candidates share their seat."""
    arms = [
        Arm(name="a", version=1, role="champion", weight=0.4),
        *(Arm(name=name, version=1, weight=0.3) for name in ("b", "c")),
    ]
    policy = RolloutPolicy(pipeline="taps", mode="ab", salt="taps/arms", arms=tuple(arms))
    champion, one, other = seating(project, FakeVersions()).line_up(publish(policy)).arms
    assert one is other
    assert one is not champion


def test_a_policy_that_cannot_be_followed_changes_nothing(project: Any) -> None:
    versions = FakeVersions()
    seats = seating(project, versions)
    before = seats.line_up(ab(0.5, 0.5))
    versions.broken = {3}
    with pytest.raises(PenstockError, match="it cannot be loaded"):
        seats.line_up(ab(0.4, 0.3, 0.3))
    again = seats.line_up(ab(0.7, 0.3))
    assert again.arms == before.arms
    assert versions.opened == [1, 2, 3]


def test_where_nobody_scores_in_shadow_no_such_version_is_opened(project: Any) -> None:
    versions = FakeVersions()
    line_up = seating(project, versions).line_up(ab(0.5, 0.5, shadow=(3,)), with_shadows=False)
    assert (versions.opened, line_up.shadows) == ([1, 2], ())


def test_the_champion_is_waited_for_longer_than_the_deadline_and_a_candidate_never(project: Any) -> None:
    server = FakeServer(infers=False, late=True)
    for seat in seating(project, FakeVersions(server, hosted=True)).line_up(ab(0.5, 0.5)).arms:
        for _ in range(3):
            with pytest.raises((NoScoresNow, NoScoresInTime)):
                seat.inference.infer(np.zeros((1, 3), np.float32), list)
    assert [(version, deadline_s) for _, version, _, deadline_s in server.calls] == [
        *((1, 0.2), (1, 0.4), (1, 0.8)),
        *[(2, 0.2)] * 3,
    ]


def test_the_champion_alone_has_its_copy_made_ready(project: Any) -> None:
    versions = FakeVersions()
    seats = seating(project, versions)
    seats.line_up(ab(0.5, 0.5, shadow=(3,))).close()
    assert versions.backed == [1]
    seats.line_up(promoted())
    assert versions.backed == [1, 2]


def test_only_versions_of_line_ups_that_may_still_score_are_kept_in_this_process(project: Any) -> None:
    versions = FakeVersions()
    seats = seating(project, versions)
    first, second = seats.line_up(None), seats.line_up(ab(0.5, 0.5, shadow=(3,)))
    assert versions.kept == ["1", "2", "3", "7"]
    first.close()
    third = seats.line_up(promoted())
    assert versions.kept == ["1", "2", "3"]
    versions.broken = {4}
    with pytest.raises(PenstockError):
        seats.line_up(promoted(shadow=(4,)))
    for line_up in (second, third):
        line_up.close()
    seats.line_up(promoted())
    assert versions.kept == ["2"]
