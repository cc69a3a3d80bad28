"""Making a model version the current one: in the repository, on the server, and in the history of aliases."""

from __future__ import annotations

from penstock.errors import PenstockError
from scoring.alias_history import Cause, record, record_configured, record_lost
from scoring.hosted_files import files_sha256
from scoring.repository import Backend, ModelRepository, ServingConfig
from scoring.servers.hosted import require_ready
from scoring.servers.protocol import ModelLoadError, ModelServer
from scoring.trained_model import ImportManifest


def load_version(
    repository: ModelRepository,
    server: ModelServer,
    model: str,
    version: int | None = None,
    backend: Backend | None = None,
    cause: Cause | None = None,
) -> ServingConfig:
    """Make a version the current one, and return what is served once it is ready.

    The previous version is still served, so that no request fails meanwhile; if the new current version is older than
    the previous one, the newer versions are retired. If loading fails, configuration and server are as they were.

    Args:
        repository: The repository as this process sees it; the server's must be the same folder.
        server: Loads the version.
        model: The model's name.
        version: The version; None for the newest.
        backend: How Triton runs it; None for the present backend (at first: ``python``).
        cause: What the history of aliases says of it; None for a plain ``load``.

    Raises:
        PenstockError: if there is no such version, one of its files has changed, the server cannot be reached, it
            cannot load the version, or it does not have the model that the version calls, as it was imported.
    """
    before = repository.configuration(model)
    chosen = repository.newest(model) if version is None else version
    repository.verified(model, chosen)
    cause = cause or Cause("load")
    server.versions(model)  # checks connectivity before anything changes
    _require_hosted(repository, server, model, chosen)
    record_lost(repository, model, cause.time_ms)
    config = repository.configure(model, chosen, backend)
    try:
        server.load(repository.metadata(model))
    except ModelLoadError as error:
        repository.restore(model, before)
        raise PenstockError(
            error.what,
            where=f"{error.where}, {repository.root / model}",
            safe="the configuration is as it was, and what was served goes on",
            next=error.next,
        ) from error
    except BaseException:
        repository.restore(model, before)
        raise
    record_configured(repository, model, cause)
    return config


def unload_version(repository: ModelRepository, server: ModelServer, model: str) -> None:
    """Stop serving a model; its versions and its configuration stay.

    Raises:
        PenstockError: if the server cannot be reached, or refuses.
    """
    server.unload(model)
    cause = Cause("unload")
    record_lost(repository, model, cause.time_ms)
    record(repository, model, {}, cause)


def _require_hosted(repository: ModelRepository, server: ModelServer, model: str, version: int) -> None:
    manifest = repository.manifest(model, version)
    if not isinstance(manifest, ImportManifest) or manifest.hosted is None:
        return
    hosted = manifest.hosted
    require_ready(server, hosted.name, hosted.version)
    found = files_sha256(repository.root, hosted.name, hosted.version, hosted.platform)
    if manifest.sha256 and found and found != manifest.sha256:
        raise PenstockError(
            f"the files of {hosted} are not those that were imported as version {version} of model {model}",
            where=str(repository.root / hosted.name),
            safe="what was served goes on",
            next=f"penstock model import PIPELINE --triton {hosted.name} --check-rows ROWS, which makes a new version",
        )
