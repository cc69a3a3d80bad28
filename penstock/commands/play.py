"""``penstock play``: feeds a file to a source of a pipeline, in event order."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from penstock.commands.errors import warn
from penstock.commands.exit_codes import ExitCode
from penstock.commands.running.screen import seconds
from penstock.commands.stopping import stop_event
from penstock.counts import counted
from penstock.errors import PenstockError, naming
from penstock.kafka.topics import require_topics, topic_ids
from penstock.playing.event_order import EventOrder
from penstock.playing.pace import Pace, rate_of, speed_of
from penstock.playing.playing import Played, check_rows, play
from penstock.playing.progress import Progress, ProgressFile, digest_of
from penstock.playing.target import Target, split_reference, target_of
from penstock.settings import Settings
from penstock.time import readable
from schemas.producer import DeliveryFailed, EventProducer
from streams.definitions.loading import load_pipeline

_SHOWN_BAD = 20
_TELL_EVERY_S = 0.5
_LINE_EVERY_S = 5.0


class _Number(click.ParamType):
    def __init__(self, name: str, read: Callable[[str], float]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("play")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--as",
    "source",
    required=True,
    metavar="PIPELINE[:TOPIC]",
    help="Whose events they are: those that the pipeline scores, or those of another topic that it reads.",
)
@click.option(
    "--speed",
    type=_Number("SPEED", speed_of),
    help="Event time per time, such as 60x; max: as fast as possible (default: 1x).",
)
@click.option("--rate", type=_Number("N/s", rate_of), help="So many events a second, whatever their times.")
@click.option("--skip-bad", is_flag=True, help="Leave out rows that do not fit the contract.")
@click.option("--again", is_flag=True, help="Begin at the first event, although it was sent before.")
def play_command(
    file: Path, source: str, speed: float | None, rate: float | None, *, skip_bad: bool, again: bool
) -> None:
    """Send the rows of FILE (.jsonl, .csv, .parquet, .avro) as events, in the order of their times.

    All rows are checked first: if one is bad, none is sent. After an interruption the same command goes on where it
    was; when all was sent it does nothing and exits with 99.
    """
    if speed is not None and rate is not None:
        raise click.UsageError("--speed and --rate exclude each other")
    reference, topic = split_reference(source)
    with naming(reference):
        definition, settings = load_pipeline(reference), Settings()
        target = target_of(definition, topic, source)
        kafka = settings.kafka.access
        require_topics([target.topic], kafka, partitions=target.partitions, pipeline=reference)
        place = [kafka.bootstrap, target.topic, topic_ids(kafka, [target.topic]).get(target.topic, "")]
        kept = ProgressFile(digest_of(file), place)
        with EventOrder() as order:
            _check(file, target, order, skip_bad=skip_bad)
            sent = _sent_before(kept, order, again=again)
            if sent == order.count:
                click.echo(f"all {counted(order.count, 'event')} were sent before; to send them again: --again")
                sys.exit(ExitCode.NOTHING_TO_DO)
            if order.last_ms > time.time_ns() // 1_000_000 + target.max_future_ms:
                warn(
                    "some events are later than now: those that still are when they are sent become dead letters",
                    f"penstock dlq list {reference}, afterwards",
                )
            pace = Pace(speed=1.0 if speed is None else speed, rate=rate)
            sent_now = _play(file, target, order, pace, sent, kept, settings)
        if sent_now < order.count:
            click.echo(f"interrupted after {sent_now:,} of {counted(order.count, 'event')}: the same command goes on")
            sys.exit(ExitCode.INTERRUPTED)
        click.echo(f"sent {counted(sent_now - sent, 'event')} to {target.topic}")


def _check(file: Path, target: Target, order: EventOrder, *, skip_bad: bool) -> None:
    """Read all rows.

    Raises:
        PenstockError: if some are bad and may not be left out, or there are none.
    """
    try:
        bad, count = check_rows(file, target, order, _SHOWN_BAD)
    except OSError as error:
        raise PenstockError(
            f"the events cannot be put in order: {error}",
            where="the folder for temporary files (TMPDIR)",
            safe="nothing was sent",
            next="free space there, or name another folder in TMPDIR",
        ) from error
    name = target.contract.contract_name
    for row in bad:
        click.echo(f"{row.place}: {row.why}", err=True)
    if count > len(bad):
        click.echo(f"... and {count - len(bad):,} more", err=True)
    if count and not skip_bad:
        raise PenstockError(
            f"{count:,} of {counted(count + order.count, 'row')} do not fit contract {name}",
            where=str(file),
            safe="nothing was sent",
            next="correct them; or add --skip-bad, which leaves them out",
        )
    if not order.count:
        raise PenstockError(f"the file has no event of contract {name}", where=str(file), safe="nothing was sent")
    if order.out_of_order:
        click.echo(f"{counted(order.out_of_order, 'row')} out of order: all are sent in the order of their event times")


def _sent_before(kept: ProgressFile, order: EventOrder, *, again: bool) -> int:
    before = None if again else kept.read()
    # With other rows left out, or by another release, it would not be the same order.
    if before is None or before.total != order.count:
        return 0
    if 0 < before.sent < before.total:
        click.echo(f"going on after {before.sent:,} of {counted(before.total, 'event')} that were sent before")
    return before.sent


def _play(
    file: Path, target: Target, order: EventOrder, pace: Pace, skip: int, kept: ProgressFile, settings: Settings
) -> int:
    first, last = (readable(time, "seconds", zone="") for time in (order.first_ms, order.last_ms))
    click.echo(f"{counted(order.count, 'event')} of {first} to {last} UTC: {_how_long(pace, order)}")
    saving = _Saving(kept, file, target, order.count, skip)
    stop = stop_event()
    with EventProducer(
        target.contract,
        target.topic,
        kafka=settings.kafka.access,
        key=target.key,
        registry_url=settings.schema_registry_url,
        envelope=target.envelope,
    ) as producer:
        try:
            return play(
                order,
                target.contract,
                producer,
                pace,
                skip=skip,
                save=saving.save,
                tell=_Telling().tell,
                wait=lambda for_s: stop.wait(for_s) if for_s else stop.is_set(),
            )
        except DeliveryFailed as error:
            error.safe = f"the first {saving.sent:,} events; later ones may be there, too"
            error.next = f"the same command, which goes on after {saving.sent:,} events"
            raise


def _how_long(pace: Pace, order: EventOrder) -> str:
    if pace.is_greatest:
        return "as fast as possible"
    takes = seconds(pace.takes_s(order.count, order.last_ms - order.first_ms))
    return f"at this pace {takes} for all of them"


class _Saving:
    """Saves how far it is; a full disk is told once, and stops nothing."""

    def __init__(self, kept: ProgressFile, file: Path, target: Target, total: int, sent: int) -> None:
        self.sent = sent
        self._kept, self._file, self._target, self._total = kept, file, target, total
        self._warned = False

    def save(self, sent: int) -> None:
        self.sent = sent
        try:
            self._kept.write(Progress(file=str(self._file), topic=self._target.topic, sent=sent, total=self._total))
        except OSError as error:
            if not self._warned:
                warn(f"how far it is cannot be saved: {error}", f"free space for {shlex.quote(str(self._kept.path))}")
            self._warned = True


class _Telling:
    """Tells how far it is: on a terminal in one line that changes, elsewhere in a line each few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_terminal = sys.stderr.isatty()
        self._told_s = float("-inf") if self._is_terminal else clock()

    def tell(self, played: Played) -> None:
        now, every_s = self._clock(), _TELL_EVERY_S if self._is_terminal else _LINE_EVERY_S
        is_last = self._is_terminal and played.sent == played.total  # elsewhere the command's last line says it
        if now - self._told_s < every_s and not is_last:
            return
        self._told_s = now
        late = f", {seconds(played.late_s)} late" if played.late_s > 1 else ""
        at = readable(played.time_ms, "seconds", zone="")
        line = f"{played.sent:,} of {played.total:,} sent, at {at}{late}"
        if self._is_terminal:
            click.echo(f"\r{line}\x1b[K", nl=is_last, err=True)
        else:
            click.echo(line, err=True)
