"""Starts the parts of a pipeline, starts again what has died, and stops all in order. Pure but for its launcher."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from penstock.running.children import Child, Launcher
from penstock.running.parts import FEATURES, Need, Part
from penstock.running.record import PartRecord, State
from penstock.running.restarts import STEADY_S, End, Restarts


class Missing(NamedTuple):
    """Why a part cannot start yet, and what to do."""

    what: str
    next: str | None = None


Needs = Callable[[Need], Missing | None]
"""Says what is missing; None if nothing is."""


@dataclass
class _Kept:
    part: Part
    port: int | None
    restarts: Restarts = field(default_factory=Restarts)
    state: State = "waiting"
    since_ms: int = 0
    child: Child | None = None
    ready_since_s: float | None = None
    was_steady: bool = False
    due_s: float = 0.0
    stop_by_s: float = 0.0
    starts: int = 0
    reason: str | None = None
    next: str | None = None


class Supervisor:
    """The supervisor of one run: call :meth:`step` several times a second, until it says that all has ended.

    Args:
        parts: The parts, in the order in which they are started.
        ports: The port of each part's metrics.
        launcher: Starts processes.
        needs: Says what parts wait for; must answer at once.
        clock: Monotonic seconds.
        now_ms: Epoch ms, for people.
        say: Is told each change, in one line.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        ports: Mapping[str, int],
        launcher: Launcher,
        needs: Needs,
        *,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._kept = [_Kept(part, ports.get(part.name), since_ms=now_ms()) for part in parts]
        self._launcher, self._needs = launcher, needs
        self._clock, self._now_ms, self._say = clock, now_ms, say
        self._stopping = False
        self.was_killed = False
        self.failures: list[str] = []
        """What went wrong while parts were stopped: each a part, and its error."""

    @property
    def is_stopping(self) -> bool:
        """Whether it stops."""
        return self._stopping

    @property
    def has_ended(self) -> bool:
        """Whether it has stopped everything."""
        return self._stopping and all(kept.child is None for kept in self._kept)

    def records(self) -> tuple[PartRecord, ...]:
        """The parts as of now."""
        return tuple(
            PartRecord(
                name=kept.part.name,
                state=kept.state,
                since_ms=kept.since_ms,
                pid=None if kept.child is None else kept.child.pid,
                port=kept.port,
                restarts=max(0, kept.starts - 1),
                reason=kept.reason,
                next=kept.next,
            )
            for kept in self._kept
        )

    def step(self, ready: Collection[str] = ()) -> bool:
        """Do what is due; whether anything runs or is to run.

        Args:
            ready: The parts that say that they take records.
        """
        for kept in self._kept:
            self._note_ready(kept, ready)
            end = None if kept.child is None else kept.child.end()
            if end is not None:
                self._ended(kept, end)
        if self._stopping:
            self._stop_next()
        else:
            for kept in self._kept:
                self._start_if_due(kept)
        return not self.has_ended

    def stop(self) -> None:
        """Begin to stop: one stage after the other, and kill what takes too long."""
        if not self._stopping:
            self._stopping = True
            for kept in self._kept:
                if kept.child is None:
                    gave_up = kept.state == "given up"
                    self._become(kept, "stopped", kept.reason if gave_up else None, kept.next if gave_up else None)

    def kill(self) -> None:
        """End everything at once."""
        self.stop()
        self.was_killed = True
        for kept in self._kept:
            if kept.child is not None:
                kept.child.kill()

    def retry(self) -> None:
        """Start again what was given up, or pauses."""
        for kept in self._kept:
            if kept.state in ("given up", "pausing"):
                kept.restarts.forget()
                kept.due_s = self._clock()
                self._become(kept, "pausing", kept.reason, kept.next)

    def _note_ready(self, kept: _Kept, ready: Collection[str]) -> None:
        """Note whether a part has taken records for long.

        A start may take as long as that. And for some seconds, what a part says is what the one before it has said.
        """
        says = kept.part.has_metrics or kept.part.name == FEATURES
        if kept.child is None or (says and kept.part.name not in ready):
            kept.ready_since_s = None
        elif kept.ready_since_s is None:
            kept.ready_since_s = self._clock()
        elif self._clock() - kept.ready_since_s >= STEADY_S:
            kept.was_steady = True

    def _start_if_due(self, kept: _Kept) -> None:
        if kept.child is not None or kept.state == "given up":
            return
        if kept.state == "pausing" and self._clock() < kept.due_s:
            return
        missing = None if kept.part.needs is None else self._needs(kept.part.needs)
        if missing is not None:
            if (kept.state, kept.reason) != ("waiting", missing.what):
                self._become(kept, "waiting", missing.what, missing.next)
                self._say(f"{kept.part.name} waits: {missing.what}" + _next(missing.next))
            return
        try:
            child = self._launcher.start(kept.part, kept.port)
        except OSError as error:
            self._pause(kept, End(1, f"the process cannot be started: {error}"))
            return
        kept.child = child
        kept.starts += 1
        self._become(kept, "running", kept.reason if kept.starts > 1 else None)
        self._say(f"{kept.part.name} {'started again' if kept.starts > 1 else 'started'}, pid {child.pid}")

    def _ended(self, kept: _Kept, end: End) -> None:
        kept.child = None
        if not self._stopping:
            self._pause(kept, end)
            return
        clean = end.status == 0
        self._become(kept, "stopped", None if clean else end.reason, None if clean else end.next)
        self._say(f"{kept.part.name} stopped" + ("" if clean else f": {end.reason}{_next(end.next)}"))
        if not clean and not self.was_killed:
            self.failures.append(f"{kept.part.name}: {end.reason}")

    def _pause(self, kept: _Kept, end: End) -> None:
        pause_s = kept.restarts.after(end, was_steady=kept.was_steady)
        kept.was_steady = False
        if pause_s is None:
            self._become(kept, "given up", end.reason, end.next)
            self._say(f"{kept.part.name} is given up: {end.reason}{_next(end.next)}")
            return
        kept.due_s = self._clock() + pause_s
        self._become(kept, "pausing", end.reason, end.next)
        self._say(f"{kept.part.name} has ended: {end.reason}; again in {pause_s:g} s{_next(end.next)}")

    def _stop_next(self) -> None:
        """Stop the parts of the lowest stage that still runs, and kill those that had their time."""
        running = [kept for kept in self._kept if kept.child is not None]
        stage = min((kept.part.stage for kept in running), default=None)
        now = self._clock()
        for kept in running:
            assert kept.child is not None
            if kept.part.stage != stage:
                continue
            if kept.state != "stopping":
                self._become(kept, "stopping")
                kept.stop_by_s = now + kept.part.grace_s
                kept.child.stop()
            elif now >= kept.stop_by_s:
                self._say(f"{kept.part.name} does not stop within {kept.part.grace_s:.0f} s: killed")
                kept.stop_by_s = now + kept.part.grace_s
                kept.child.kill()

    def _become(self, kept: _Kept, state: State, reason: str | None = None, next_step: str | None = None) -> None:
        kept.state, kept.since_ms = state, self._now_ms()
        kept.reason, kept.next = reason, next_step


def _next(step: str | None) -> str:
    return "" if step is None else f"; next: {step}"
