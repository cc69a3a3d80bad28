"""What parts wait for, asked again and again in a thread: a model, the policy of a rollout, a profile of raw events."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import closing, suppress
from functools import partial
from typing import Self

from penstock.errors import PenstockError
from penstock.kafka.reading import read_topic
from penstock.paths import STRONG
from penstock.running.parts import Need
from penstock.running.supervisor import Missing
from penstock.settings import Settings
from scoring.repository import ModelRepository
from scoring.rollout.policy_store import read_followed
from scoring.servers.protocol import ModelServerUnavailable
from scoring.servers.registry import PRIMARY_SERVER, open_server
from streams.drift.data_quality.quality_store import read_kept, require_reference
from streams.plan.project import Project

_EVERY_S = 5.0
_STOP_S = 2.0


class WatchedNeeds:
    """Answers at once what was found last; a context manager, which looks first.

    Args:
        project: The pipeline.
        settings: Where its models and Kafka are.
        wanted: What to look for.
    """

    def __init__(self, project: Project, settings: Settings, wanted: Collection[Need]) -> None:
        self._project, self._settings = project, settings
        self._missing: dict[Need, Missing | None] = dict.fromkeys(wanted, Missing("not looked for yet"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="needs", daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_STOP_S)

    def __call__(self, need: Need) -> Missing | None:
        """What is missing; None if nothing is."""
        return self._missing[need]

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        for need in self._missing:
            try:
                self._missing[need] = self._look_for(need)
            except PenstockError as error:
                self._missing[need] = Missing(error.what, error.next)
            except OSError as error:
                self._missing[need] = Missing(f"{self._settings.model_repository} cannot be read: {error}")

    def _look_for(self, need: Need) -> Missing | None:
        match need:
            case "model":
                return _missing_version(self._project, self._settings)
            case "loaded model":
                project, settings = self._project, self._settings
                return _missing_version(project, settings) or _missing_loaded(project, settings)
            case "policy":
                return self._policy()
            case "profile":
                # It stays once it is there, and its topic has all that is counted.
                if self._missing[need] is not None:
                    self._require_profile()
                return None

    def _policy(self) -> Missing | None:
        if read_followed(self._settings.kafka.access, self._project.pipeline) is None:
            return Missing(
                "there is no rollout", f"penstock rollout apply {self._project.reference} -f FILE --reason TEXT"
            )
        return None

    def _require_profile(self) -> None:
        """Check that raw events were profiled with the settings of the definition.

        Raises:
            PenstockError: if they were not; says how to do it.
        """
        pipeline = self._project.pipeline
        kept = read_kept(partial(read_topic, self._settings.kafka.access), pipeline)
        require_reference(kept, pipeline, self._project.reference)


def missing_answers(project: Project, settings: Settings) -> Missing | None:
    """What keeps a model from scoring events at all; None if nothing does, or the model server does not answer.

    Raises:
        PenstockError: if the model server refuses, or the model repository cannot be understood.
        OSError: if the model repository cannot be read.
    """
    unloaded = _missing_loaded(project, settings)
    return unloaded and (_missing_version(project, settings) or unloaded)


def _missing_version(project: Project, settings: Settings) -> Missing | None:
    model, reference = project.pipeline.model.name, project.reference
    repository = ModelRepository(settings.model_repository)
    if not repository.versions(model):
        return Missing(
            f"model {model} has no version yet",
            f"penstock backfill run {reference} --from TIME --to TIME --out FOLDER, then "
            f"penstock model train {reference} --backfill FOLDER",
        )
    repository.current(model)
    return None


def _missing_loaded(project: Project, settings: Settings) -> Missing | None:
    """What of the models is not loaded. Nothing if the server does not answer: a scorer can start without it."""
    model, reference = project.pipeline.model, project.reference
    names = {model.name: reference}
    if model.cascade is not None:
        names[model.strong.name] = f"{reference}{STRONG}"
    with suppress(ModelServerUnavailable), closing(open_server(PRIMARY_SERVER, settings)) as server:
        for name, of in names.items():
            if not any(state.state == "READY" for state in server.versions(name)):
                load = f"penstock model promote {of} VERSION --backfill FOLDER, or penstock model load {of}"
                return Missing(f"model {name} is not loaded in {server.name}", load)
    return None
