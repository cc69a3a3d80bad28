"""`penstock setup`."""

from __future__ import annotations

import click

from deploy import bootstrap
from penstock.errors import PenstockError
from penstock.paths import BUILD, IS_CHECKOUT, SETUP_COMMAND, SETUP_VARIABLE


@click.command()
def setup() -> None:
    """Install what the local stack and jobs need: Java, Maven and Redis with apt, Flink, Triton, jars, the kernel.

    All but the system packages goes into ~/.penstock, or the folder that PENSTOCK_SETUP names; in a checkout, into the
    checkout. What is there is kept. Every package and jar is one of the lock, by its hash.
    """
    folder = BUILD.parent if IS_CHECKOUT else BUILD
    click.echo(f"setting up {folder}")
    try:
        bootstrap.set_up()
    except bootstrap.SetupError as error:
        what, _, advice = str(error).partition("\n  next: ")
        raise PenstockError(
            f"set-up stopped: {what}",
            where=str(folder),
            safe="what was set up before is kept, and is not done again",
            next=advice or SETUP_COMMAND,
        ) from error
    except OSError as error:
        raise PenstockError(
            f"set-up stopped: {error}",
            where=str(folder),
            safe="what was set up before is kept, and is not done again",
            next=f"{SETUP_COMMAND}, once it can be written there; {SETUP_VARIABLE} names another folder",
        ) from error
    click.echo("all is there; next: penstock up")
