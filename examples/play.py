"""Sends an example's messages to a running stack: `python -m examples.play fraud --per-second 200`.

The topics must exist: `penstock topics create fraud`. The demo sends its messages itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import click

from examples.ads.delivery import AdsConfig
from examples.ads.delivery import messages as ads_messages
from examples.demo.producer import DemoProducer
from examples.flights.replay import messages as flight_messages
from examples.fraud.delivery import messages as fraud_messages
from examples.fraud.selective import WORLD
from examples.messages import Message
from penstock.settings import Settings

_MESSAGES: dict[str, Callable[[int], Iterator[Message]]] = {
    "fraud": fraud_messages,
    "fraud-selective": lambda seed: fraud_messages(seed, config=WORLD),
    "flights": lambda _seed: flight_messages(),
    "ads": ads_messages,
    "ads-conversions": lambda seed: ads_messages(seed, config=AdsConfig(labels="conversions")),
}


@click.command()
@click.argument("pipeline", type=click.Choice(list(_MESSAGES)))
@click.option(
    "--messages",
    type=click.IntRange(1),
    default=60_000,
    show_default=True,
    help="Number of messages, including labels.",
)
@click.option(
    "--per-second", type=click.FloatRange(0, min_open=True), help="Messages per second (default: as fast as possible)."
)
@click.option(
    "--skip",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Leave out so many of the first messages, which were sent before.",
)
@click.option("--seed", default=7, show_default=True, help="Seed of the generated data.")
def play(pipeline: str, messages: int, per_second: float | None, skip: int, seed: int) -> None:
    """Produce the events and labels of an example to its topics; the same seed gives the same messages."""
    producer = DemoProducer(Settings().kafka.access)
    producer.produce(
        itertools.islice(_MESSAGES[pipeline](seed), skip, skip + messages), per_second=per_second, tick=lambda: None
    )
    click.echo(", ".join(f"{count:,} {kind}" for kind, count in sorted(producer.counts.items())))


if __name__ == "__main__":
    play()
