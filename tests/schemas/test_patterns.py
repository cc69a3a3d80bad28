"""The regular expressions of contracts: what is accepted, and what is refused with which advice."""

from __future__ import annotations

import pytest

from schemas.patterns import MAX_SIZE, check_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^[A-Z]{2}$",
        "^([A-Z0-9]|-)+$",
        "a|b|",
        "(a|b)*?c+",
        r"\.\+\\\[\n[\]\[\\\-^]",
        "[-a][^-a][a-][a-z-]",
        "ü[é-ü]😀",
        "x{3}y{2,}z{0,4}?",
        "&& -- ~~ # < >",
        "[^^]" * 3,
    ],
)
def test_the_common_syntax_is_accepted(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (r"\d+", r"write \[0-9\]"),
        (r"[\d]", "write out what is in the set"),
        (r"\w", "write"),
        (r"\bx", r"'\\\\bx' \(character 0\)"),
        (r"\pL", "would not all match"),
        (r"\x41", "would not all match"),
        (r"\z", "would not all match"),
        (r"(a)\1", "would not all match"),
        ("[[:alnum:]]", "write out what is in the set"),
        ("[a[b]]", "write out what is in the set"),
        ("[a-z&&b]", "would not all match"),
        ("[a--b]", "would not all match"),
        ("[]a]", "write out what is in the set"),
        ("[a", "write out what is in the set"),
        ("(?P<x>a)", r"only \(\?:...\)"),
        ("(?i)a", r"only \(\?:...\)"),
        ("(?=a)", r"only \(\?:...\)"),
        ("(?<!a)b", r"only \(\?:...\)"),
        ("a**", "must follow"),
        ("a{2}{3}", "must follow"),
        ("^*", "must follow"),
        ("*", "must follow"),
        ("a{,3}", r"write \\{"),
        ("a{x", r"write \\{"),
        ("}", r"write \\}"),
        ("(a", "a group does not end"),
        ("a)", "ends no group"),
        ("(" * 60 + ")" * 60, "nest deeper than 49"),
        ("(a{40}){40}", "longer than 1,000"),
        ("a" * (MAX_SIZE + 1), "longer than 1,000"),
        ("((a{0}){1000}){1000}", "longer than 1,000"),
        ("\ud800", "unpaired surrogate"),
    ],
)
def test_everything_else_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_pattern(pattern)
