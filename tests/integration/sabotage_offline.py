"""The offline half of the recorded run: its archive, whose process is killed once, its training sets, and parity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from backfill.parity.kafka import kafka_sources
from backfill.parity.sources import Sources
from examples.demo.command_runner import CommandRunner
from penstock.kafka.names import dead_letters_of
from penstock.settings import Settings
from streams.plan.project import Project
from tests.scoring.scorer_bench import wait_for
from verify.run_data import RunData


@dataclass(frozen=True)
class Recorded:
    """What a run left: for the verifier, the folder of its archive, and what parity reads."""

    project: Project
    run: RunData
    archive: Path
    sources: Sources


class OfflineOfRun:
    """Runs the commands of the offline half.

    Args:
        project: The pipeline.
        settings: The addresses of the stack.
        services: Runs commands.
        file: The pipeline, as commands name it.
        folder: Where the archive and the training sets go.
        from_ms: The time of the first event.

    Attributes:
        sets: The folders of the training sets: of recomputed and of served features.
    """

    def __init__(
        self, project: Project, settings: Settings, services: CommandRunner, file: str, folder: Path, from_ms: int
    ) -> None:
        self._project, self._settings, self._services, self._file = project, settings, services, file
        self._from_ms, self._archive = from_ms, folder / "archive"
        self.sets = [folder / "recomputed", folder / "served"]

    def start_archive(self) -> None:
        """Archive everything from now on."""
        self._services.start("archive", *self._archiving("1s"))

    def kill_archive(self) -> None:
        """Kill that process, once it has archived something."""
        wait_for(lambda: any(self._archive.glob("_commits/*/*.json")), 60, "the archive to commit something")
        self._services.kill("archive")

    def finish(self, backfill: Path, backfill_to_ms: int, to_ms: int) -> None:
        """Archive what is left, build the training sets, and compare what was served.

        Args:
            backfill: The folder of the backfill.
            backfill_to_ms: The end of its range.
            to_ms: The end of all events.

        Raises:
            PenstockError: if a command fails, or something that was served is unexplained.
        """
        of_backfill = (*self._range(backfill_to_ms), "--backfill", str(backfill), "--embargo", "--out")
        of_log = (*self._range(to_ms), "--features", "served", "--out")
        build = ("training-set", "build", self._file, "--no-probe")
        self._services.call("archive", *self._archiving("1m"), "--until-caught-up")
        self._services.call("set-recomputed", *build, *of_backfill, str(self.sets[0]))
        self._services.call("set-served", *build, *of_log, str(self.sets[1]))
        self._services.call("parity", "parity", self._file, *self._range(to_ms))

    def recorded(self, run: RunData) -> Recorded:
        """The run with what parity reads, read once."""
        live, pipeline = kafka_sources(self._project, self._settings, 0), self._project.pipeline
        names = [*(source.topic for source in pipeline.sources), pipeline.features_topic, pipeline.predictions_topic]
        records = {topic: list(live.read(topic)) for name in names for topic in (name, dead_letters_of(name))}
        return Recorded(self._project, run, self._archive, replace(live, read=lambda topic: iter(records[topic])))

    def _archiving(self, every: str) -> tuple[str, ...]:
        return ("archive", "run", self._file, "--out", str(self._archive), "--every", every)

    def _range(self, to_ms: int) -> tuple[str, ...]:
        return ("--from", str(self._from_ms), "--to", str(to_ms))
