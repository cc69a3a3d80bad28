"""Checks a policy against its pipeline and the model repository, before anything is loaded or published."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.errors import PenstockError
from scoring.bands import band_of
from scoring.repository import ModelRepository
from scoring.rollout.policy import RolloutPolicy
from scoring.startup import check_model
from streams.definitions.pipeline import Pipeline
from streams.plan.project import Project

_SAFE = "no policy was changed, and nothing was loaded"


def check_policy(policy: RolloutPolicy, project: Project, repository: ModelRepository, where: str) -> None:
    """Check that the pipeline's scorers can follow a policy.

    That versions keep the same outputs needs no check: the repository takes no others.

    Args:
        policy: The policy.
        project: The pipeline.
        repository: Has the versions.
        where: The policy's file, for errors.

    Raises:
        PenstockError: as :func:`check_declared`; or if a version does not exist, was changed, does not fit the
            pipeline, or has no band in the pipeline's cascade. It names the field of the file.
    """
    check_declared(policy, project.pipeline, where)
    name = project.pipeline.model.name
    for field, version in fields_with_versions(policy):
        place = f"{where}: {field}"
        try:
            repository.verified(name, version)
            model = repository.description(name, version)
            check_model(project.pipeline, project.plan, model, 1, project.other_views)
        except PenstockError as error:
            raise _of_version(place, version, error) from error
        _check_band(project.pipeline, repository, version, place)


def check_declared(policy: RolloutPolicy, pipeline: Pipeline, where: str) -> None:
    """Check what a policy declares against the pipeline's definition.

    Raises:
        PenstockError: if it is of another pipeline, its exploration has a decision that the pipeline does not know, or
            it is a bandit, and the pipeline has no labels.
    """
    if policy.pipeline != pipeline.name:
        raise PenstockError(
            f"the policy is of pipeline {policy.pipeline}, and not of {pipeline.name}",
            where=f"{where}: pipeline",
            safe=_SAFE,
            next=f"correct the file, or penstock rollout apply {policy.pipeline} -f FILE --reason TEXT",
        )
    decisions = (pipeline.model.positive, pipeline.model.negative)
    if policy.exploration is not None and policy.exploration.decision not in decisions:
        raise PenstockError(
            f"{policy.exploration.decision!r} is no decision of the pipeline",
            where=f"{where}: exploration.decision",
            safe=_SAFE,
            next=f"give it the permissive one of {' and '.join(map(repr, decisions))}",
        )
    if policy.mode == "bandit" and pipeline.labels is None:
        raise PenstockError(
            "a bandit's rewards are labels, and the pipeline declares none: its weights would never move",
            where=f"{where}: mode",
            safe=_SAFE,
            next="declare Pipeline(labels=Labels(...)), or take mode: ab, whose weights the file declares",
        )


def fields_with_versions(policy: RolloutPolicy) -> Iterator[tuple[str, int]]:
    """The fields of a policy that name a version, and the version."""
    for arm in policy.arms:
        yield f"version of arm {arm.name}", arm.version
    for version in policy.shadow:
        yield "shadow", version


def _check_band(pipeline: Pipeline, repository: ModelRepository, version: int, place: str) -> None:
    if pipeline.model.cascade is None:
        return
    strong = repository.current(pipeline.model.strong.name)
    try:
        band_of(repository, pipeline.model, version, strong)
    except PenstockError as error:
        error.next = f"penstock model band PIPELINE --backfill FOLDER --fast {version}"
        raise _of_version(place, version, error) from error


def _of_version(place: str, version: int, error: PenstockError) -> PenstockError:
    return PenstockError(
        f"version {version}: {error.what}",
        where=f"{place} ({error.where})",
        safe=_SAFE,
        next=error.next or "penstock model list PIPELINE",
    )
