"""What scores the events of a pipeline: the versions that are served now, on the servers that have them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
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
from scoring.model_metadata import ModelMetadata
from scoring.prediction_format import CascadeIdentity, ModelIdentity
from scoring.reasons import Attribution
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelServer
from scoring.servers.registry import FALLBACK_SERVER, PRIMARY_SERVER, open_server
from scoring.startup import check_cascade, check_model, describe_model, hosted_by, load_fallback, warm_up
from streams.definitions.pipeline import Model
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
        primary, model = self.primary, self.model
        if self.fallback is None:
            return HostedInference(primary, model, deadline_s=deadline_s, clock=time.monotonic, on_failure=on_failure)
        return Inference(
            primary, self.fallback, model, deadline_s=deadline_s, clock=time.monotonic, on_fallback=on_failure
        )


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


@contextmanager
def served_model(project: Project, settings: Settings, max_batch: int) -> Iterator[Served]:
    """The versions to score with, for the duration of the block.

    Raises:
        PenstockError: if one is not loaded, its inputs or views are not the pipeline's, a file of it has changed, or a
            cascade has no band.
    """
    with (
        closing(open_server(PRIMARY_SERVER, settings)) as primary,
        closing(open_server(FALLBACK_SERVER, settings)) as fallback,
    ):
        repository, pipeline = ModelRepository(settings.model_repository), project.pipeline

        def served(model: Model) -> ServedModel:
            metadata = describe_model(primary, fallback, model.name)
            check_model(pipeline, project.plan, metadata, max_batch, project.other_views)
            if metadata.version in repository.versions(metadata.name):
                repository.verified(metadata.name, metadata.version)
            hosted = hosted_by(repository, metadata)
            if hosted is None:
                load_fallback(fallback, metadata)
            else:
                _log.info("version %d calls %s in %s: there is no fallback", metadata.version, hosted, primary.name)
            warm_up(primary, metadata)
            attribution = repository.attribution(metadata.name, metadata.version)
            return ServedModel(primary, None if hosted else fallback, metadata, attribution)

        fast = served(pipeline.model)
        declared = pipeline.model.cascade
        if declared is None:
            yield Served(fast, None)
            return
        with naming(f"PIPELINE{STRONG}"):
            strong = served(pipeline.model.strong)
        check_cascade(fast.model, strong.model)
        band = band_of(repository, pipeline.model, fast.model.version, strong.model.version)
        rule = CascadeRule(band, declared.audit, audit_salt(pipeline.name))
        yield Served(fast, ServedCascade(strong, rule))
