"""Writes the archive of classes from which the JVM that submits a job starts in half the time; set-up calls it.

``python -m streams.flink.class_archive`` submits a small job to a server that refuses it. When its JVM ends, it writes
the classes that it has loaded. Java ignores an archive that does not fit its version or the jars.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated

from penstock.errors import PenstockError
from penstock.paths import CLIENT_ARCHIVE, site_packages
from penstock.settings import Settings
from schemas.contract import ENTITY, EVENT_ID, EVENT_TIME, Contract
from streams.definitions.aggregates import count
from streams.definitions.columns import Derived
from streams.definitions.pipeline import Model, Pipeline
from streams.definitions.sources import Source
from streams.definitions.views import Entity, View
from streams.flink.submission import Limits, Options
from streams.flink.submit import submit_job
from streams.plan.project import Project


class Payment(Contract, name="payment", version=1):
    """A payment."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY]
    amount: float


def main() -> int:
    """Write the archive."""
    packages = site_packages("jobs")
    assert packages is not None, "set-up calls this after it has made the environment"
    CLIENT_ARCHIVE.unlink(missing_ok=True)
    partial = CLIENT_ARCHIVE.with_suffix(".partial.jsa")
    with _server_that_refuses() as url, tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "PENSTOCK_FLINK_REST": url,
            "PENSTOCK_FLINK_CONF_DIR": str(packages / "pyflink" / "conf"),
            "PENSTOCK_FLINK_STATE": folder,
            "JDK_JAVA_OPTIONS": f"-XX:ArchiveClassesAtExit={partial}",
        }
        limits = Limits(features=1, dead_letters=(1,), unpublished=1)
        with suppress(PenstockError):
            submit_job(Project.of(_pipeline(), Path(folder)), Settings(), Options(), limits, name="p", group="p")
    # By renaming: a submission that starts now finds a whole archive or none.
    partial.replace(CLIENT_ARCHIVE)
    return 0


def _pipeline() -> Pipeline:
    card = Entity(name="card", key="card")
    view = View(name="spend", version=1, entity=card, aggregates=(count(over="1h"),))
    return Pipeline(
        name="payments",
        source=Source(topic="payments", contract=Payment, key="card"),
        entities=(card,),
        # The classes of Flink's tables, too.
        derived={"cents": Derived(sql="amount * 100", type="double")},
        passthrough=("cents",),
        views=(view,),
        model=Model(name="m", inputs=view.inputs(), threshold=0.5, positive="block", negative="approve"),
    )


class _Refusal(BaseHTTPRequestHandler):
    """Answers a job with an error for which Flink's client does not send it again."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        while size := int(self.rfile.readline(), 16):  # the client sends chunks
            self.rfile.read(size + len(b"\r\n"))
        answer = b'{"errors": ["this is not Flink"]}'
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _server_that_refuses() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
