"""A TCP proxy in front of one Kafka broker that can withhold the end of a transaction and deliver it late."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

_SIZE = struct.Struct(">i")
_API_KEY = struct.Struct(">h")
_END_TXN = 26


class KafkaProxy:
    """Passes Kafka's frames on, and names itself where the broker names itself. A context manager.

    It knows of the protocol that a frame is a size and a body, that a request begins with its API key, and that an
    address in an answer (Metadata, FindCoordinator) is a host followed by a port of four bytes.

    Args:
        broker: The broker's ``host:port``, as it advertises itself.
    """

    def __init__(self, broker: str) -> None:
        host, port = broker.rsplit(":", 1)
        self._broker = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.ends = 0  # EndTxn requests that clients have sent
        self._withholding = False
        self._late: tuple[socket.socket, bytes] | None = None
        self._answered = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def withhold_next_end(self) -> None:
        """Keep the next EndTxn request back, and cut the connection of the client that sent it."""
        self._withholding = True

    def deliver_late(self) -> None:
        """Send the request that was kept back to the broker, on its own connection, and wait for the answer."""
        assert self._late is not None, "no EndTxn was kept back"
        upstream, frame = self._late
        upstream.sendall(frame)
        assert self._answered.wait(10), "the broker does not answer the late EndTxn"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for open_ in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                open_.shutdown(socket.SHUT_RDWR)
            open_.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                upstream = socket.create_connection(self._broker)
                self._sockets += [client, upstream]
                for pump in (self._requests, self._answers):
                    threading.Thread(target=pump, args=(client, upstream), daemon=True).start()

    def _requests(self, client: socket.socket, upstream: socket.socket) -> None:
        while (frame := _read_frame(client)) is not None:
            if _API_KEY.unpack_from(frame, _SIZE.size)[0] == _END_TXN:
                self.ends += 1
                if self._withholding:
                    self._withholding, self._late = False, (upstream, frame)
                    client.shutdown(socket.SHUT_RDWR)
                    return
            upstream.sendall(frame)
        upstream.close()

    def _answers(self, client: socket.socket, upstream: socket.socket) -> None:
        host, port = self._broker
        ours = self._server.getsockname()[1]
        theirs, mine = (host.encode() + _SIZE.pack(number) for number in (port, ours))
        while (frame := _read_frame(upstream)) is not None:
            if self._late is not None and self._late[0] is upstream:
                self._answered.set()
            else:
                client.sendall(frame.replace(theirs, mine))


def _read_frame(source: socket.socket) -> bytes | None:
    """One frame with its size; None at the end of the connection."""
    head = _read(source, _SIZE.size)
    body = None if head is None else _read(source, _SIZE.unpack(head)[0])
    return None if head is None or body is None else head + body


def _read(source: socket.socket, size: int) -> bytes | None:
    data = b""
    with contextlib.suppress(OSError):
        while len(data) < size:
            part = source.recv(size - len(data))
            if not part:
                return None
            data += part
        return data
    return None
