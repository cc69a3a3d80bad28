"""``penstock gateway``: options of the gateway; :mod:`penstock.gateway` does the work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping

import click
from prometheus_client import REGISTRY

from penstock.client.client import Client
from penstock.client.client_metrics import ClientMetrics
from penstock.commands.errors import require_pipeline
from penstock.commands.options import metrics_option
from penstock.errors import PenstockError
from penstock.gateway.asking import Deadlines, health_of
from penstock.gateway.gateway_metrics import GatewayMetrics
from penstock.gateway.http import HttpGateway
from penstock.paths import STRONG
from penstock.playing.target import split_reference
from penstock.settings import Settings
from penstock.telemetry import configure_logging, serve
from streams.definitions.loading import load_pipeline
from streams.plan.project import open_project


@click.group()
def gateway() -> None:
    """Answer events by HTTP and gRPC, within a deadline."""


@gateway.command()
@click.argument("pipelines", metavar="PIPELINE...", nargs=-1, required=True)
@click.option(
    "--fallback",
    required=True,
    metavar="DECISION",
    help="The decision where no prediction comes before the deadline.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8700, show_default=True, help="Port (0: a free one, in the log)."
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65_535),
    help="Answer gRPC too, at this port (0: a free one, in the log).  [default: no gRPC]",
)
@click.option(
    "--deadline-ms",
    type=click.IntRange(0, 60_000),
    default=200,
    show_default=True,
    help="Deadline of a request that names none.",
)
@click.option(
    "--most-deadline-ms",
    type=click.IntRange(0, 60_000),
    default=5_000,
    show_default=True,
    help="Longest deadline that a request may name.",
)
@click.option(
    "--most-in-flight",
    type=click.IntRange(1, 100_000),
    default=1_000,
    show_default=True,
    help="Requests of a pipeline that wait at once; others get 503.",
)
@click.option(
    "--remember",
    type=click.IntRange(1, 10_000_000),
    default=20_000,
    show_default=True,
    help="Events whose answers are kept for requests that come again.",
)
@click.option(
    "--encoding",
    type=click.Choice(["avro", "json"]),
    default="avro",
    show_default=True,
    help="How events are written to their topic.",
)
@metrics_option
def run(
    *,
    pipelines: tuple[str, ...],
    fallback: str,
    host: str,
    port: int,
    grpc_port: int | None,
    deadline_ms: int,
    most_deadline_ms: int,
    most_in_flight: int,
    remember: int,
    encoding: str,
    metrics_port: int | None,
) -> None:
    """Answer events of each PIPELINE until stopped (SIGTERM or Ctrl-C).

    POST /v1/NAME/events sends an event, given as JSON, and returns the model's decision, or the fallback; Ask does so
    by gRPC. PIPELINE:TOPIC answers events of another topic that the pipeline scores, at /v1/NAME:TOPIC/events.

    Whoever can reach a port can send events: put it behind a proxy that checks who asks. /metrics and /healthz are on
    the HTTP port, too; --metrics-port serves them on a port that callers need not reach.
    """
    for reference in pipelines:
        require_pipeline(reference if reference.endswith(STRONG) else split_reference(reference)[0])
    if deadline_ms > most_deadline_ms:
        raise click.UsageError("--deadline-ms is longer than --most-deadline-ms")
    _require_one_of_each_name(pipelines)
    configure_logging()
    settings, metrics = Settings(), ClientMetrics(REGISTRY)
    with contextlib.ExitStack() as opened:
        clients = {}
        for reference in pipelines:
            pipeline, topic = split_reference(reference)
            client = Client(
                pipeline,
                source=topic,
                fallback=fallback,
                settings=settings,
                encoding="json" if encoding == "json" else "avro",
                most_in_flight=most_in_flight,
                remembered=remember,
                metrics=metrics,
            )
            opened.enter_context(client)
            clients[client.name] = client
        counts = GatewayMetrics(REGISTRY)
        counts.watch(clients)
        opened.enter_context(serve(metrics_port, settings.metrics_host, lambda: health_of(clients)))
        _warn_without_model(pipelines, settings)
        deadlines = Deadlines(deadline_ms, most_deadline_ms)
        asyncio.run(_serve(clients, deadlines, counts, host, port, grpc_port))


def _require_one_of_each_name(pipelines: tuple[str, ...]) -> None:
    """Check that no two pipelines would be served under one path.

    Raises:
        PenstockError: if two have the same name.
    """
    found: dict[str, str] = {}
    for reference in pipelines:
        pipeline, topic = split_reference(reference)
        name = load_pipeline(pipeline).name + (f":{topic}" if topic else "")
        if name in found:
            raise PenstockError(
                f"two pipelines have the name {name}, by which requests say which one they ask",
                where=f"{found[name]}, {reference}",
                safe="nothing was started",
                next="name each pipeline once; start another gateway, on another --port, for one of the same name",
            )
        found[name] = reference


def _warn_without_model(pipelines: tuple[str, ...], settings: Settings) -> None:
    """Say of which pipelines no model scores events, so that all answers are the fallback.

    Only what is known is said: a gateway may stand where it reaches neither the model server nor its repository.
    """
    from penstock.running.needs import missing_answers  # noqa: PLC0415 - a client of the model server is slow to import

    for reference in dict.fromkeys(split_reference(pipeline)[0] for pipeline in pipelines):
        with contextlib.suppress(PenstockError, OSError):
            if missing := missing_answers(open_project(reference), settings):
                answers = f"for now, every answer of {reference} is the fallback"
                click.echo(f"warning: {missing.what}: {answers}; next: {missing.next}", err=True)


async def _serve(
    clients: Mapping[str, Client],
    deadlines: Deadlines,
    counts: GatewayMetrics,
    host: str,
    port: int,
    grpc_port: int | None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http = HttpGateway(clients, deadlines, counts)
    serving = [http.serve(host, port, stop, lambda *bound: click.echo(f"answering at http://{bound[0]}:{bound[1]}"))]
    if grpc_port is not None:
        from penstock.gateway.rpc import RpcGateway  # noqa: PLC0415 - gRPC takes a while to import

        rpc = RpcGateway(clients, deadlines, counts)
        serving.append(
            rpc.serve(host, grpc_port, stop, lambda *bound: click.echo(f"answering gRPC at {bound[0]}:{bound[1]}"))
        )
    tasks = [asyncio.create_task(server) for server in serving]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop.set()  # where one could not start, the other ends too
    await asyncio.gather(*tasks)
