"""The versions of a pipeline's models as files of the repository, opened in this process: no model server is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from penstock.errors import PenstockError
from scoring.audit import audit_salt
from scoring.bands import band_of
from scoring.cascade import Band
from scoring.cascade_inference import CascadeInference, CascadeRule
from scoring.local_inference import LocalInference
from scoring.model_metadata import ModelMetadata
from scoring.prediction_format import ModelIdentity
from scoring.repository import ModelRepository
from scoring.servers.onnx import OnnxServer
from scoring.servers.protocol import ModelServer
from scoring.startup import check_cascade, check_model
from scoring.version_files import identity
from streams.plan.project import Project


class LocalArm(NamedTuple):
    """A version that scores in this process.

    Args:
        model: The version; of a cascade, the fast one.
        inference: Scores with it.
        kept: The names of the outputs that it returns beside the score.
        strong: The strong version of a cascade, which decides the events in the band.
        band: That band.
    """

    model: ModelIdentity
    inference: LocalInference | CascadeInference
    kept: tuple[str, ...] = ()
    strong: ModelIdentity | None = None
    band: Band | None = None


class LocalVersions:
    """Opens versions of a pipeline's models.

    Args:
        project: The pipeline.
        repository: Has the versions.
        server: Runs them in this process.

    Attributes:
        identities: What each version is that was opened: the hash of its content, by ``name@version``.
    """

    def __init__(self, project: Project, repository: ModelRepository, server: ModelServer) -> None:
        self._project = project
        self._repository = repository
        self._server = server
        self.identities: dict[str, str] = {}

    def alone(self, name: str, version: int) -> LocalArm:
        """A version by itself, without the cascade that it may be part of.

        Raises:
            PenstockError: if there is no such version, a file of it has changed, it does not fit the pipeline, or only
                Triton has its model.
        """
        model = self._opened(name, version)
        return LocalArm(_identity(model), LocalInference(self._server, model), model.kept)

    def arm(self, version: int) -> LocalArm:
        """A version of the pipeline's model as a scorer has it: with its cascade, if there is one.

        The strong model is its current version, and the band the one that was chosen last for the two.

        Raises:
            PenstockError: as :meth:`alone`; or the cascade has no band for them.
        """
        model = self._project.pipeline.model
        if model.cascade is None:
            return self.alone(model.name, version)
        fast = self._opened(model.name, version)
        strong = self._opened(model.strong.name, self._repository.current(model.strong.name))
        check_cascade(fast, strong)
        band = band_of(self._repository, model, fast.version, strong.version)
        rule = CascadeRule(band, model.cascade.audit, audit_salt(self._project.name))
        both = LocalInference(self._server, fast), LocalInference(self._server, strong)
        return LocalArm(_identity(fast), CascadeInference(*both, rule), fast.kept, _identity(strong), band)

    def _opened(self, name: str, version: int) -> ModelMetadata:
        folder = self._repository.verified(name, version)
        metadata = self._repository.description(name, version)
        check_model(self._project.pipeline, self._project.plan, metadata, 1, self._project.other_views)
        hosted = self._repository.hosted(name, version)
        if hosted is not None:
            raise PenstockError(
                f"version {version} of model {name} calls {hosted} in Triton, and has no file to score with here",
                where=str(folder),
                safe="nothing was scored or written",
                next="name a version with a file: penstock model list PIPELINE",
            )
        self._server.load(metadata)
        self.identities[f"{name}@{version}"] = identity(folder)
        return metadata


@contextmanager
def open_local_versions(project: Project, repository: ModelRepository) -> Iterator[LocalVersions]:
    """The versions of a pipeline's models in this process, for the duration of the block."""
    with closing(OnnxServer(repository)) as server:
        yield LocalVersions(project, repository, server)


def _identity(model: ModelMetadata) -> ModelIdentity:
    return ModelIdentity(model.name, str(model.version))
