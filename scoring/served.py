"""What scores the events of a pipeline: the versions that are served now, on the servers that have them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from penstock.errors import naming
from penstock.paths import STRONG
from penstock.settings import Settings
from scoring.audit import audit_salt
from scoring.bands import band_of
from scoring.cascade_inference import CascadeInference, CascadeRule
from scoring.hosted_inference import HostedInference
from scoring.inference import Inference
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.prediction_format import CascadeIdentity, ModelIdentity
from scoring.reasons import Attribution
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelServer, ModelServerUnavailable
from scoring.servers.registry import FALLBACK_SERVER, PRIMARY_SERVER, open_server
from scoring.startup import check_cascade, check_model, describe_model, hosted_by, load_fallback, warm_up
from scoring.unbacked_inference import UnbackedInference
from streams.plan.project import Project

_log = logging.getLogger(__name__)


class Deadlines(NamedTuple):
    """How long the primary model server may take for a batch, in seconds: of the model, and of a strong one."""

    model_s: float
    strong_s: float


class ServedModel(NamedTuple):
    """A version of a model, and the two servers that have it; no fallback for one that Triton hosts.

    ``attribution`` finds the reasons of its scores; None if it has none.
    """

    primary: ModelServer
    fallback: ModelServer | None
    model: ModelMetadata
    attribution: Attribution | None

    @property
    def identity(self) -> ModelIdentity:
        """As predictions name it."""
        return ModelIdentity(self.model.name, str(self.model.version))

    def inference(self, deadline_s: float, on_failure: Callable[[str], None]) -> Inference | HostedInference:
        """Scores with it; the arguments are as of both classes."""
        primary, model, clock = self.primary, self.model, time.monotonic
        if self.fallback is None:
            return HostedInference(primary, model, deadline_s=deadline_s, clock=clock, on_failure=on_failure)
        return Inference(primary, self.fallback, model, deadline_s=deadline_s, clock=clock, on_fallback=on_failure)

    def unbacked(self, deadline_s: float) -> UnbackedInference:
        """Scores with it on the primary server alone."""
        return UnbackedInference(self.primary, self.model, deadline_s=deadline_s, clock=time.monotonic)


class ServedCascade(NamedTuple):
    """The strong model of a cascade, and which events it scores."""

    strong: ServedModel
    rule: CascadeRule


class Served(NamedTuple):
    """What scores the events of a pipeline: its model, and the cascade if there is one."""

    model: ServedModel
    cascade: ServedCascade | None

    @property
    def cascade_identity(self) -> CascadeIdentity | None:
        """As predictions name it; None without a cascade."""
        if self.cascade is None:
            return None
        return CascadeIdentity(self.cascade.strong.identity, self.cascade.rule.band)

    def inference(
        self, deadlines: Deadlines, on_failure: Callable[[str], None]
    ) -> Inference | HostedInference | CascadeInference:
        """Scores with it; each model has its own deadline and breaker."""
        fast = self.model.inference(deadlines.model_s, on_failure)
        if self.cascade is None:
            return fast
        strong = self.cascade.strong.inference(deadlines.strong_s, on_failure)
        return CascadeInference(fast, strong, self.cascade.rule)

    def unbacked(self, deadlines: Deadlines) -> UnbackedInference | CascadeInference:
        """Scores with it on the primary server alone: where it gives no scores, nobody waits for them."""
        fast = self.model.unbacked(deadlines.model_s)
        if self.cascade is None:
            return fast
        return CascadeInference(fast, self.cascade.strong.unbacked(deadlines.strong_s), self.cascade.rule)


class Versions:
    """The versions of a pipeline's model that can score, on open servers.

    Args:
        project: The pipeline.
        repository: Has the versions.
        primary: The model server.
        fallback: The server in this process.
        max_batch: How many records a batch may have.
    """

    def __init__(
        self,
        project: Project,
        repository: ModelRepository,
        primary: ModelServer,
        fallback: ModelServer,
        max_batch: int,
    ) -> None:
        self._project = project
        self._repository = repository
        self._primary = primary
        self._fallback = fallback
        self._max_batch = max_batch

    def current(self) -> Served:
        """The version that ``penstock model load`` has made the current one.

        Raises:
            PenstockError: if it is not loaded, its inputs or views are not the pipeline's, a file of it has changed, or
                a cascade has no band.
        """
        model = self._project.pipeline.model
        return self._with_cascade(self._served(describe_model(self._primary, self._fallback, model.name)))

    def version(self, number: int, *, is_backed: bool) -> Served:
        """A version, whether it is the current one or not; errors are those of :meth:`current`.

        ``is_backed`` says whether the copy in this process is made ready, too.
        """
        name = self._project.pipeline.model.name
        try:
            ready = {state.version for state in self._primary.versions(name) if state.state == "READY"}
        except ModelServerUnavailable as error:
            _log.warning("preparing version %d of model %s without %s: %s", number, name, self._primary.name, error)
        else:
            if number not in ready:
                raise ModelNotLoaded(
                    f"version {number} of model {name} is not loaded in {self._primary.name}",
                    safe="what was served goes on",
                    next="penstock rollout apply PIPELINE -f FILE --reason TEXT, which loads the versions of a policy",
                )
        return self._with_cascade(self._served(self._repository.description(name, number), is_backed=is_backed))

    def keep_only(self, models: Iterable[ModelIdentity]) -> None:
        """Forget the copies in this process of all versions but these."""
        self._fallback.keep_only({(name, int(version)) for name, version in models})

    def _served(self, metadata: ModelMetadata, *, is_backed: bool = True) -> ServedModel:
        repository, project = self._repository, self._project
        check_model(project.pipeline, project.plan, metadata, self._max_batch, project.other_views)
        if metadata.version in repository.versions(metadata.name):
            repository.verified(metadata.name, metadata.version)
        hosted = hosted_by(repository, metadata)
        if hosted is None and is_backed:
            load_fallback(self._fallback, metadata)
        elif hosted is not None:
            _log.info("version %d calls %s in %s: there is no fallback", metadata.version, hosted, self._primary.name)
        warm_up(self._primary, metadata)
        attribution = repository.attribution(metadata.name, metadata.version)
        return ServedModel(self._primary, None if hosted else self._fallback, metadata, attribution)

    def _with_cascade(self, fast: ServedModel) -> Served:
        pipeline = self._project.pipeline
        declared = pipeline.model.cascade
        if declared is None:
            return Served(fast, None)
        with naming(f"PIPELINE{STRONG}"):
            strong = self._served(describe_model(self._primary, self._fallback, pipeline.model.strong.name))
        check_cascade(fast.model, strong.model)
        band = band_of(self._repository, pipeline.model, fast.model.version, strong.model.version)
        rule = CascadeRule(band, declared.audit, audit_salt(pipeline.name))
        return Served(fast, ServedCascade(strong, rule))


@contextmanager
def open_versions(project: Project, settings: Settings, max_batch: int) -> Iterator[Versions]:
    """The versions of the pipeline's model, for the duration of the block."""
    with (
        closing(open_server(PRIMARY_SERVER, settings)) as primary,
        closing(open_server(FALLBACK_SERVER, settings)) as fallback,
    ):
        yield Versions(project, ModelRepository(settings.model_repository), primary, fallback, max_batch)
