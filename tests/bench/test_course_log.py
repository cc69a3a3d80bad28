"""A benchmark of many courses goes on where it was killed, and never takes results of other code for its own."""

from __future__ import annotations

import pytest

from tests.bench.course_log import CourseLog, fingerprint, measure

COURSES = [("calm", "independent", 1), ("calm", "seasonal", 1), ("change", "spread by half", 2)]


def result_of(course):
    return {"course": list(course)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_courses_without_a_result_are_measured(tmp_path, jobs):
    path = tmp_path / "new" / "log.jsonl"
    assert [*measure(CourseLog(path), COURSES[:2], result_of, jobs)] == COURSES[:2]
    log = CourseLog(path)
    assert [*measure(log, COURSES, result_of, jobs)] == COURSES[2:]
    assert log.results == CourseLog(path).results == {course: result_of(course) for course in COURSES}


def test_a_line_that_a_killed_run_left_unfinished_is_measured_again(tmp_path):
    path = tmp_path / "log.jsonl"
    [*measure(CourseLog(path), COURSES, result_of)]
    path.write_bytes(path.read_bytes()[:-5])
    log = CourseLog(path)
    assert [*measure(log, COURSES, result_of)] == COURSES[2:]
    assert CourseLog(path).results.keys() == {*COURSES}


def test_what_was_measured_before_an_error_stays(tmp_path):
    def fails(course):
        if course == COURSES[1]:
            raise ValueError("no")
        return result_of(course)

    path = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match="no"):
        [*measure(CourseLog(path), COURSES, fails)]
    assert CourseLog(path).results.keys() == {COURSES[0]}


def test_a_fingerprint_is_of_code_and_versions_and_not_of_comments(tmp_path):
    file = tmp_path / "rule.py"

    def of(text, *further):
        file.write_text(text)
        return fingerprint([file], *further)

    assert of("LIMIT = 1\n") == of("# Why.\nLIMIT = 1\n")
    assert len({of("LIMIT = 1\n"), of("LIMIT = 2\n"), of("LIMIT = 1\n", "numpy 2")}) == 3
