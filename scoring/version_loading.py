"""Making a model version the current one: in the repository, on the server, and in the history of aliases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from penstock.errors import PenstockError
from scoring.alias_history import Cause, record, record_configured, record_lost
from scoring.hosted_files import files_sha256
from scoring.repository import ModelRepository
from scoring.servers.hosted import require_ready
from scoring.servers.protocol import ModelLoadError, ModelServer
from scoring.serving_config import Backend, ServingConfig
from scoring.startup import warm_up
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
    the previous one, the newer versions are retired. Versions that a rollout policy needs stay, whatever their number.
    If loading fails, configuration and server are as they were.

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
    chosen = repository.newest(model) if version is None else version
    _check(repository, server, model, [chosen])

    def configure() -> ServingConfig:
        return repository.configure(model, chosen, backend)

    return _load(repository, server, model, configure, (), cause or Cause("load"))


def load_versions(
    repository: ModelRepository,
    server: ModelServer,
    model: str,
    champion: int,
    others: Collection[int],
    cause: Cause | None = None,
) -> ServingConfig:
    """Make a version the current one, with the others of a rollout policy beside it; return what is served then.

    All of them are served until this is called for another policy, even if `load_version` makes another version the
    current one. So is the version that was the current one before. If loading fails, configuration and server are as
    they were.

    Args:
        repository: The repository as this process sees it; the server's must be the same folder.
        server: Loads the versions. Each scores one vector, so that the first batch does not wait for what it does once.
        model: The model's name.
        champion: The version that becomes the current one.
        others: The other versions: candidates, those in shadow, and those of a policy that is still followed.
        cause: What the history of aliases says of it; None for ``rollout``.

    Raises:
        PenstockError: as :func:`load_version`, of any of the versions.
    """
    needed = sorted({champion, *others})
    _check(repository, server, model, needed)

    def configure() -> ServingConfig:
        return repository.configure(model, champion, rollout=needed)

    config = _load(repository, server, model, configure, needed, cause or Cause("rollout"))
    for version in config.versions:
        warm_up(server, repository.description(model, version))
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


def _check(repository: ModelRepository, server: ModelServer, model: str, versions: Iterable[int]) -> None:
    """Check all that can be checked before anything changes."""
    chosen = list(versions)
    for version in chosen:
        repository.verified(model, version)
    server.versions(model)  # whether it answers
    for version in chosen:
        _require_hosted(repository, server, model, version)


def _load(
    repository: ModelRepository,
    server: ModelServer,
    model: str,
    configure: Callable[[], ServingConfig],
    needed: Sequence[int],
    cause: Cause,
) -> ServingConfig:
    """Configure, load and record; if that fails, or one of the needed versions is not ready then, undo it."""
    before = repository.configuration(model)
    record_lost(repository, model, cause.time_ms)
    config = configure()
    is_loaded = False
    try:
        server.load(repository.metadata(model))
        is_loaded = True
        _require_ready(repository, server, model, needed)
    except BaseException as error:
        repository.restore(model, before)
        if is_loaded:
            with suppress(PenstockError):
                server.load(repository.metadata(model))
        if not isinstance(error, ModelLoadError):
            raise
        raise PenstockError(
            error.what,
            where=f"{error.where}, {repository.root / model}",
            safe="the configuration is as it was, and what was served goes on",
            next=error.next,
        ) from error
    record_configured(repository, model, cause)
    return config


def _require_ready(repository: ModelRepository, server: ModelServer, model: str, needed: Sequence[int]) -> None:
    if not needed:
        return
    states = {state.version: state for state in server.versions(model)}
    for version in needed:
        state = states.get(version)
        if state is None or state.state != "READY":
            reason = (state and state.reason) or "it is not in the folder that it serves"
            raise ModelLoadError(
                f"{server.name} cannot load version {version} of model {model}: {reason}",
                where=server.name,
                next=f"PENSTOCK_MODEL_REPOSITORY must be the folder that {server.name} serves: {repository.root}",
            )


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
