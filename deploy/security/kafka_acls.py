"""Prints the ACLs of a pipeline's components, from `kafka-acls.toml`, as commands for an administrator.

::

    python -m deploy.security.kafka_acls fraud > acls.sh
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from penstock.kafka.names import group_of
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline

RULES = Path(__file__).with_name("kafka-acls.toml")


@dataclass(frozen=True)
class Acl:
    """One permission of one user."""

    user: str
    resource: Literal["topic", "group", "transactional_id"]
    name: str
    prefixed: bool
    operation: str

    def command(self) -> str:
        """The ``kafka-acls.sh`` command that grants it."""
        arguments = ["--add", "--allow-principal", f"User:{self.user}", "--operation", self.operation]
        arguments += [f"--{self.resource.replace('_', '-')}", self.name]
        arguments += ["--resource-pattern-type", "prefixed"] if self.prefixed else []
        return f'kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" {shlex.join(arguments)}'


def acls(pipeline: Pipeline) -> Iterator[Acl]:
    """Every permission of every part of the pipeline, in file order; a name in braces means each such topic."""
    topics = {
        "source": [source.topic for source in pipeline.sources],
        "reference": [*dict.fromkeys(lookup.topic for lookup in pipeline.lookups)],
        "labels": [] if pipeline.labels is None else [*pipeline.labels.topics],
    }
    for part, resources in tomllib.loads(RULES.read_text(encoding="utf-8")).items():
        for resource, rules in resources.items():
            for pattern, operations in rules.items():
                kind = next((kind for kind in topics if f"{{{kind}}}" in pattern), None)
                for topic in [""] if kind is None else topics[kind]:
                    name = pattern.format_map({"p": pipeline.name} | ({} if kind is None else {kind: topic}))
                    for operation in operations:
                        user, plain = group_of(pipeline.name, part), name.removesuffix("*")
                        yield Acl(user, resource, plain, name.endswith("*"), operation)


@click.command()
@click.argument("pipeline")
def main(pipeline: str) -> None:
    """Print the commands that grant each component of PIPELINE its permissions.

    The commands use BOOTSTRAP, the brokers, and ADMIN, a file with the administrator's client properties.
    """
    for acl in acls(load_pipeline(pipeline)):
        click.echo(acl.command())


if __name__ == "__main__":
    main()
