"""Measures many courses in parallel and keeps each result in a file, so that a run that was killed goes on.

A course is a key of strings and numbers, its result whatever JSON can hold. The file has one line per course, and its
name a fingerprint of the code: results of other code are not taken for those of this one.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

Course = tuple[str | int, ...]


def fingerprint(files: Sequence[Path], *further: str) -> str:
    """A short hash of Python files, their comments aside, and of what else results depend on, such as versions."""
    digest = hashlib.sha256("\0".join(further).encode())
    for file in sorted(files):
        digest.update(f"\0{file.name}\0{ast.dump(ast.parse(file.read_bytes()))}".encode())
    return digest.hexdigest()[:12]


class CourseLog:
    """The results in one file. A last line that a killed run left unfinished is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.results: dict[Course, Any] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            if not line.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(whole)
                break
            course, result = json.loads(line)
            self.results[tuple(course)] = result
            whole += len(line)

    def add(self, course: Course, result: object) -> None:
        """Keep one result."""
        self.results[course] = result
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(json.dumps([course, result]).encode() + b"\n")


def measure(
    log: CourseLog, courses: Sequence[Course], of: Callable[[Course], object], jobs: int = 1
) -> Iterator[Course]:
    """Measure the courses that the log has not, in ``jobs`` processes; yields each once its result is kept.

    They are begun in their order. An error of a course ends the run; what was measured before stays.
    """
    left = [course for course in courses if course not in log.results]
    if jobs == 1:
        for course in left:
            log.add(course, of(course))
            yield course
        return
    # Not forked: numpy and river may run threads here.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            for course, result in zip(left, pool.map(of, left), strict=True):
                log.add(course, result)
                yield course
        finally:
            pool.shutdown(cancel_futures=True)
