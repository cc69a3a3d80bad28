"""``penstock rollout apply | pause | resume | promote | rollback``: changes of the policy by a person."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from penstock.commands.console import printable
from penstock.commands.errors import pipeline_argument, warn
from penstock.commands.rollout.looking import file_option, policy_in
from penstock.commands.rollout.signing import by_now, signed_options
from penstock.commands.rollout.wording import arms, difference, print_line, signed, state
from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.settings import Settings
from penstock.telemetry import configure_logging
from scoring.repository import ModelRepository, VerifiedOnce
from scoring.rollout.log_reading import changes_in
from scoring.rollout.policy import RolloutPolicy
from scoring.rollout.policy_check import check_policy
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import (
    Decide,
    change_policy,
    iterate_log,
    read_followed,
    read_policy,
    why_unreadable,
)
from scoring.rollout.publication import Publication
from scoring.rollout.transitions import (
    By,
    begun,
    check_champion,
    end_of,
    paused,
    promoted,
    published_again,
    resumed,
    rolled_back,
)
from scoring.servers.registry import PRIMARY_SERVER, open_server
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.definitions.windows import duration_text
from streams.plan.project import open_project


@click.command()
@pipeline_argument
@file_option
@signed_options()
@click.option("--dry-run", is_flag=True, help="Only check file and versions, and say what would change.")
@click.option("--again", is_flag=True, help="Begin a rollout once more that was rolled back or promoted.")
@click.option("--switch", is_flag=True, help="Let the file's champion be another version than the present one.")
def apply(pipeline: str, file: Path, reason: str, author: str, *, dry_run: bool, again: bool, switch: bool) -> None:
    """Publish the policy of a file, once its versions are checked, loaded and warmed up.

    Scorers follow it without a restart. If the same policy is published already, nothing is done, however far its
    rollout has come; nor if its rollout has ended, unless --again is given. So a file in git can be applied again and
    again. A record there that cannot be read as a policy is replaced.
    """
    configure_logging()
    project, settings = open_project(pipeline), Settings()
    kafka, definition = settings.kafka.access, project.pipeline
    policy, repository = policy_in(file, definition), VerifiedOnce(settings.model_repository)
    check_policy(policy, project, repository, str(file))
    if policy.candidates or policy.shadow:
        _warn_of_late_labels(policy, definition)

    def end(present: PolicyChange | None) -> PolicyChange | None:
        """What has ended this rollout, if it is not to begin again."""
        if again or present is None or present.status != "ended":
            return None
        return end_of(policy, changes_in(iterate_log(kafka, definition)))

    def begin(present: PolicyChange | None) -> PolicyChange | None:
        change = None if end(present) else begun(policy, present, by_now(author, reason))
        if change is not None and not switch:
            serving = repository.serving_config(definition.model.name)
            check_champion(policy, present, None if serving is None else serving.version)
        return change

    command = f"penstock rollout apply {shlex.quote(pipeline)} -f {shlex.quote(str(file))} --reason TEXT"
    decide = _repairing(begin, kafka, definition, by_now(author, reason))
    if dry_run:
        if (unreadable := why_unreadable(kafka, definition)) is not None:
            click.echo(f"{unreadable.where} is no policy, and would be replaced: {unreadable.what}")
        present = read_followed(kafka, definition)
        for line in difference(present, policy):
            click.echo(line)
        change = decide(present)
    else:
        with _publication(settings, definition, repository, repairs=True) as publication:
            change = publication.load_and_publish(decide)
    if change is None:
        _say_nothing_to_do(end(read_policy(kafka, definition)), f"{command} --again")
    elif dry_run:
        click.echo(f"would publish {change.policy.version}: {state(change)}")
        click.echo(f"next: {command}")
    else:
        _print_published(pipeline, change)


@click.command()
@pipeline_argument
@signed_options()
def pause(pipeline: str, reason: str, author: str) -> None:
    """Keep the policy as it is until `resume`. Meanwhile the controller takes no step, but still rolls back."""
    _set_status(
        pipeline, lambda present: paused(present, by_now(author, reason)), "it is paused already: nothing to do"
    )


@click.command()
@pipeline_argument
@signed_options()
def resume(pipeline: str, reason: str, author: str) -> None:
    """Let the controller judge a paused rollout again, at the step where it was."""
    _set_status(pipeline, lambda present: resumed(present, by_now(author, reason)), "it is not paused: nothing to do")


@click.command()
@pipeline_argument
@signed_options()
@click.option("--arm", metavar="NAME", help="Which candidate, if there are several.")
def promote(pipeline: str, reason: str, author: str, arm: str | None) -> None:
    """Make a candidate the champion: it scores all events, and its version becomes the current one."""
    model, repository = load_pipeline(pipeline).model.name, ModelRepository(Settings().model_repository)

    def decide(present: PolicyChange | None) -> PolicyChange:
        change = promoted(present, by_now(author, reason), arm)
        try:  # scorers may still have a version in memory that no scorer could start with
            repository.verified(model, change.policy.policy.champion.version)
        except PenstockError as error:
            error.safe = "the policy is as it was"
            raise
        return change

    _end(pipeline, decide)


@click.command()
@pipeline_argument
@signed_options()
def rollback(pipeline: str, reason: str, author: str) -> None:
    """End what is being tried: the champion scores all events.

    After a promotion, go back to the champion before it. A second time, nothing is done.
    """
    kafka, definition, by = Settings().kafka.access, load_pipeline(pipeline), by_now(author, reason)

    def decide(present: PolicyChange | None) -> PolicyChange | None:
        return rolled_back(present, by, changes_in(iterate_log(kafka, definition)))

    _end(pipeline, _repairing(decide, kafka, definition, by), repairs=True)


def _set_status(pipeline: str, decide: Decide, nothing: str) -> None:
    configure_logging()
    change = change_policy(Settings().kafka.access, load_pipeline(pipeline), decide)
    if change is None:
        click.echo(nothing)
    else:
        _print_published(pipeline, change)


def _repairing(decide: Decide, kafka: KafkaAccess, pipeline: Pipeline, by: By) -> Decide:
    """The same decision; if that is to change nothing, but the policy's record is none, the policy once more."""

    def decided(present: PolicyChange | None) -> PolicyChange | None:
        change = decide(present)
        if change is None and present is not None and why_unreadable(kafka, pipeline) is not None:
            return published_again(present, by)
        return change

    return decided


def _end(pipeline: str, decide: Decide, *, repairs: bool = False) -> None:
    """Publish a champion that scores all, and make it the current version of the repository."""
    configure_logging()
    settings = Settings()
    repository = ModelRepository(settings.model_repository)
    with _publication(settings, load_pipeline(pipeline), repository, repairs=repairs) as publication:
        change = publication.publish(decide)
        if change is None:
            click.echo("the champion of the last rollout scores all events: nothing to do")
            return
        _print_published(pipeline, change)
        version = change.policy.policy.champion.version
        try:
            publication.make_current(version)
        except PenstockError as error:
            what = f"the policy is published, but version {version} is not the current one: {error.what}"
            warn(what, f"penstock model load {shlex.quote(pipeline)} --version {version}")


@contextmanager
def _publication(
    settings: Settings, pipeline: Pipeline, repository: ModelRepository, *, repairs: bool
) -> Iterator[Publication]:
    with closing(open_server(PRIMARY_SERVER, settings)) as server:
        yield Publication(settings.kafka.access, pipeline, repository, server, repairs=repairs)


def _print_published(pipeline: str, change: PolicyChange) -> None:
    print_line("published", f"{click.style(change.policy.version, bold=True)}: {state(change)}")
    for line in arms(change.policy):
        print_line("", line)
    click.echo(f"next: penstock rollout show {shlex.quote(pipeline)}, which says who follows it")


def _warn_of_late_labels(policy: RolloutPolicy, pipeline: Pipeline) -> None:
    """Warn if a step in shadow would pause before the first event is old enough to be judged by its label."""
    labels, quality = pipeline.labels, pipeline.rollout.judged.get("quality")
    if labels is None or labels.horizon is None or quality is None or not quality.awaited:
        return
    if policy.steps and policy.steps[0].weight == 0 and policy.steps[0].most_time <= labels.horizon:
        horizon, most = duration_text(labels.horizon), duration_text(policy.steps[0].most_time)
        warn(
            f"quality is not known before the step in shadow pauses: labels are final after {horizon}, and the step "
            f"lasts {most} at most",
            f"declare a step that lasts longer, such as most_time: {duration_text(2 * labels.horizon)}, or "
            'Rollout(without=("quality",))',
        )


def _say_nothing_to_do(end: PolicyChange | None, again: str) -> None:
    if end is None:
        click.echo("this policy is published: nothing to do")
    else:
        click.echo(f"this rollout has ended, {signed(end)}: {printable(end.reason)}")
        click.echo(f"nothing to do; to begin it once more: {again}")
