"""Makes line-ups: opens the versions that a policy names, each once, and gives each its inference and its writer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from penstock.kafka.names import dead_letters_of
from scoring.batch import FeatureReader
from scoring.entity_keys import EntityKeys
from scoring.lineup import LineUp, Seat
from scoring.predictions import PredictionWriter
from scoring.rollout.policy import PublishedPolicy
from scoring.served import Deadlines, Served, Versions
from scoring.vectors import Vectorizer
from streams.plan.feature_records import features_schema
from streams.plan.project import Project

_Role: TypeAlias = Literal["champion", "candidate", "shadow"]


class Seating:
    """Makes the line-ups of one pipeline.

    A version that has the same role in two line-ups, one after the other, keeps its inference, and so its breaker. The
    copy in this process of a version that is in no open line-up any more is forgotten with the next line-up.

    Args:
        project: The pipeline.
        versions: Opens its versions.
        deadlines: How long the primary model server may take for a batch.
        largest: The bytes of the longest record that each topic takes.
        on_failure: Called with the reason whenever the primary returned no scores for users.
    """

    def __init__(
        self,
        project: Project,
        versions: Versions,
        deadlines: Deadlines,
        largest: Mapping[str, int],
        on_failure: Callable[[str], None],
    ) -> None:
        self._project = project
        self._versions = versions
        self._deadlines = deadlines
        self._largest = largest
        self._on_failure = on_failure
        self._seats: dict[tuple[int, _Role], Seat] = {}
        self._open: list[LineUp] = []

    def line_up(self, published: PublishedPolicy | None, *, with_shadows: bool = True) -> LineUp:
        """Who scores under a policy; without one, the version that ``penstock model load`` has made the current one.

        Raises:
            PenstockError: if a version cannot be used: it is not loaded, a file of it has changed, or it does not fit
                the pipeline. The line-up before goes on.
        """
        line_up = self._line_up(published, with_shadows=with_shadows)
        # Others may score until they are closed.
        self._open = [*(each for each in self._open if not each.is_closed), line_up]
        self._versions.keep_only(model for each in self._open for model in each.models)
        return line_up

    def _line_up(self, published: PublishedPolicy | None, *, with_shadows: bool) -> LineUp:
        if published is None:
            return LineUp(None, [self._seat(self._versions.current(), "champion")], clock=time.perf_counter)
        wanted: list[tuple[int, _Role]] = [(arm.version, arm.role) for arm in published.policy.arms]
        shadows: list[tuple[int, _Role]] = [(version, "shadow") for version in published.shadows if with_shadows]
        opened: dict[int, Served] = {}
        seats = {}
        # The champion comes first, and is backed by its copy in this process.
        for version, role in dict.fromkeys([*wanted, *shadows]):
            seat = self._seats.get((version, role))
            if seat is None:
                if version not in opened:
                    opened[version] = self._versions.version(version, is_backed=role == "champion")
                seat = self._seat(opened[version], role)
            seats[version, role] = seat
        self._seats = seats
        arms, in_shadow = ([seats[each] for each in some] for some in (wanted, shadows))
        return LineUp(published, arms, in_shadow, clock=time.perf_counter)

    def reader(self, writer: PredictionWriter) -> FeatureReader:
        """What reads the pipeline's feature records; ``writer`` writes the dead letters of unreadable ones."""
        project, pipeline = self._project, self._project.pipeline
        return FeatureReader(
            features_schema(project.plan),
            project.features_decoder(),
            project.plan.triggering_topics,
            Vectorizer(pipeline.model.inputs, pipeline.categories),
            writer,
            EntityKeys(project.other_views, project.plan.passthrough) if project.other_views else None,
        )

    def _seat(self, served: Served, role: _Role) -> Seat:
        pipeline, (model, cascade) = self._project.pipeline, served
        topic = pipeline.shadow_topic if role == "shadow" else pipeline.predictions_topic
        writer = PredictionWriter(
            pipeline,
            self._project.plan,
            model.identity,
            kept=model.model.kept,
            attribution=model.attribution,
            cascade=served.cascade_identity,
            strong_attribution=None if cascade is None else cascade.strong.attribution,
            max_bytes=self._largest[topic],
            letter_bytes=self._largest[dead_letters_of(pipeline.predictions_topic)],
            topic=topic,
        )
        identities = (model.identity,) if cascade is None else (model.identity, cascade.strong.identity)
        if role == "champion":
            return Seat(identities, served.inference(self._deadlines, self._on_failure), writer)
        # A candidate need not be waited for: where it is late, the champion scores.
        return Seat(identities, served.unbacked(self._deadlines), writer)
