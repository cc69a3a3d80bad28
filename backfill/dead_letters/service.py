"""Replays the letters of a pipeline: opens what each lane's way needs, and runs it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from rich.console import Console

from backfill.dead_letters.lanes import Lane, PlacedLetter, Way
from backfill.dead_letters.raw import keep_refused, put_back
from backfill.dead_letters.reading import committed_offsets, lane_consumer, present_ends
from backfill.dead_letters.replay import Answer, Replay
from backfill.dead_letters.scores import ScoreReplay
from backfill.dead_letters.stores import StoreReplay
from backfill.progress_bar import ProgressBar
from penstock.counts import counted
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.names import group_of
from penstock.kafka.records import Produced
from penstock.kafka.topics import admin_client, largest_messages
from penstock.settings import Settings
from scoring.rescoring import open_rescorer
from sinks.feature_reader import other_views_reader
from sinks.store_registry import find_stores
from streams.plan.project import Project

MOST_AT_ONCE = 500
_TIMEOUT_S = 15.0


def replay_lanes(
    project: Project, settings: Settings, lanes: Mapping[Lane, int], command: str, console: Console
) -> Iterator[tuple[Lane, Counter[str]]]:
    """Replay one lane after the other; yields each with how many of its letters went which way.

    Letters that come meanwhile wait for the next replay: else one could be replayed several times in this one.

    Args:
        project: The pipeline.
        settings: How to reach the servers.
        lanes: The lanes, each with the number of letters that wait in it.
        command: The command that the user typed.
        console: Shows the progress.

    Raises:
        PenstockError: if a lane cannot be replayed; those before it are.
    """
    kafka, pipeline = settings.kafka.access, project.pipeline
    replay = Replay(project.name, kafka, command)
    ends = present_ends(kafka, {lane.topic for lane in lanes})
    for lane, waiting in lanes.items():
        way = lane.way(pipeline)
        if way in (Way.SCORE, Way.EXCERPT) and not lane.is_answer:
            forget_what_is_scored(kafka, group_of(project.name, "scorer"), pipeline.features_topic)
        keep = partial(_keep, largest_messages([lane.topic], kafka)[lane.topic]) if way is Way.RAW else None
        with _answer(project, settings, lane, way) as answer, ProgressBar(console) as progress:
            progress.start_step(f"{lane}:", waiting, noun="letter")
            outcomes = replay.run(
                lane,
                ends[lane.topic],
                answer,
                keep=keep,
                restore=way is not Way.EXCERPT,
                on_letters=progress.advance,
            )
        yield lane, outcomes


def _keep(letter_bytes: int, placed: PlacedLetter, why: str) -> Produced:
    return keep_refused(placed, why, letter_bytes, _now())


@contextmanager
def _answer(project: Project, settings: Settings, lane: Lane, way: Way) -> Iterator[Answer]:
    """What answers the letters of a lane, for the duration of the block."""
    match way:
        case Way.RAW:
            yield partial(put_back, now=_now)
        case Way.SCORE | Way.EXCERPT:
            vectors = other_views_reader(project, settings)
            with open_rescorer(project, settings, MOST_AT_ONCE, vectors) as rescorer:
                yield ScoreReplay(rescorer, from_excerpts=way is Way.EXCERPT).answer
        case Way.STORE:
            stores = find_stores()
            if lane.store not in stores:
                raise PenstockError(f"there is no store {lane.store}", where=str(lane), safe="its letters stay")
            kind = stores[lane.store]
            with closing(kind.create(project, settings, kind.options())) as store:
                store.open()
                letter_bytes = largest_messages([lane.topic], settings.kafka.access)
                yield StoreReplay(store, letter_bytes.__getitem__, _now).answer
        case Way.NONE:
            raise PenstockError(f"{lane}: {way.value}", safe="its letters stay")


def forget_what_is_scored(kafka: KafkaAccess, group: str, features_topic: str) -> None:
    """Make the next scorer look up which events are scored, which it otherwise knows from its last commit.

    An event whose letter the scorer does not take for an answer would else be scored twice, if the job published its
    features again.

    Raises:
        PenstockError: if a scorer runs: it would not learn of the replay's predictions.
    """
    admin = admin_client(kafka)
    failure: str | None = None
    try:
        members = admin.describe_consumer_groups([group])[group].result(_TIMEOUT_S).members
        if members:
            raise PenstockError(
                f"these letters cannot be replayed while {counted(len(members), 'scorer')} of the pipeline runs",
                where=f"group {group} at {kafka}",
                safe="nothing of these letters was replayed",
                next="stop the scorers, wait 10 s until Kafka has noticed, and try again",
            )
        with closing(lane_consumer(kafka, group)) as consumer:
            committed = committed_offsets(consumer, features_topic)
        bare = [TopicPartition(one.topic, one.partition, one.offset) for one in committed if one.offset >= 0]
        if bare:
            request = [ConsumerGroupTopicPartitions(group, bare)]
            answer = admin.alter_consumer_group_offsets(request)[group].result(_TIMEOUT_S)
            failure = next((str(one.error) for one in answer.topic_partitions if one.error), failure)
    except (KafkaException, TimeoutError) as error:
        failure = str(error) or "no answer"
    if failure is not None:
        raise PenstockError(
            f"the scorer cannot be told to look up what is scored: {failure}",
            where=f"group {group} at {kafka}",
            safe="nothing of these letters was replayed",
            next="penstock status, then try again",
        )


def _now() -> int:
    return time.time_ns() // 1_000_000
