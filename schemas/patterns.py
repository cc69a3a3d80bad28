r"""The regular expressions that a contract may use: those that every reader matches alike, in linear time.

Pydantic matches a pattern with Rust's engine, the job's kernel with RE2/J. They agree on the syntax below, which a test
checks with random patterns and texts. Everything else is refused when a contract is defined: of ``\d``, ``(?i)`` or
``[[:alpha:]]`` each engine has its own idea.

- any character but ``\ . + * ? ( ) | [ ] { } ^ $``, and these with a ``\`` before them
- ``\n``, ``\r``, ``\t``; ``.`` for any character but a line feed
- ``[a-z0-9_]``, ``[^,;]``: one character of a set, or none of it
- ``(...)``, ``(?:...)``, ``|``: groups and alternatives
- ``?``, ``*``, ``+``, ``{n}``, ``{n,}``, ``{n,m}``, also lazy (``*?``): repetitions of one of the above
- ``^`` and ``$``: the very start and the very end of the text
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_SIZE = 1_000
"""The largest pattern, in characters and sets, with counted repetitions written out. RE2/J repeats no more often."""
MAX_DEPTH = 50

_ESCAPE = r"\\[\\.+*?()|\[\]{}^$/&~#nrt-]"
_ITEM = rf"(?:{_ESCAPE}|[^\\\[\]-])"
_TOKEN = re.compile(
    rf"(?P<one>\[\^?(?!\])-?(?:{_ITEM}(?:-{_ITEM})?)*-?\]|{_ESCAPE}|[^\\+*?()|\[\]{{}}^$])"
    r"|(?P<repeat>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??)"
    r"|(?P<begin>\((?:\?:)?(?!\?))"
    r"|(?P<end>\))"
    r"|(?P<between>[|^$])",
    re.DOTALL,
)
_SET_OPERATORS = re.compile("&&|--|~~")
_HINTS = {
    r"\d": "write [0-9]",
    r"\w": "write [A-Za-z0-9_]",
    r"\s": r"write [ \t\r\n]",
    "(?": "only (?:...) may begin with (?",
    "[": "write out what is in the set, with a \\ before [ ] \\ and -",
    "{": "write \\{ for the character",
    "}": "write \\} for the character",
    "]": "write \\] for the character",
}


def check_pattern(pattern: str) -> None:
    r"""Check that all readers match a pattern alike.

    >>> check_pattern("^[A-Z]{2}-[0-9]+$")
    >>> check_pattern("[0-9]+(?i)x")
    Traceback (most recent call last):
    ValueError: readers would not all match '(?i)x' (character 6) alike: only (?:...) may begin with (?

    Raises:
        ValueError: they do not; the message is for the person who wrote it.
    """
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise ValueError("it has an unpaired surrogate")
    sizes = [0]  # of the whole pattern, and of each open group
    last: int | None = None  # the size of what a repetition would repeat
    for token in _tokens(pattern):
        place = f"{token[0]!r} (character {token.start()})"
        repeated, last = last, None
        match token.lastgroup:
            case "one":
                last = 1
                sizes[-1] += last
            case "repeat" if repeated is not None:
                sizes[-1] += _size(token[0], repeated) - repeated
            case "repeat":
                raise ValueError(f"{place} must follow a character, a set or a group")
            case "begin" if len(sizes) == MAX_DEPTH:
                raise ValueError(f"its groups nest deeper than {MAX_DEPTH - 1}")
            case "begin":
                sizes.append(1)
            case "end" if len(sizes) == 1:
                raise ValueError(f"{place} ends no group")
            case "end":
                last = sizes.pop()
                sizes[-1] += last
        if sizes[-1] > MAX_SIZE:
            raise ValueError(f"it is longer than {MAX_SIZE:,} characters and sets, with repetitions written out")
    if len(sizes) > 1:
        raise ValueError("a group does not end")


def _tokens(pattern: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None or (len(token[0]) > 2 and token.lastgroup == "one" and _SET_OPERATORS.search(token[0])):
            hint = next((f": {hint}" for start, hint in _HINTS.items() if pattern.startswith(start, position)), "")
            part = pattern[position : position + 8]
            raise ValueError(f"readers would not all match {part!r} (character {position}) alike{hint}")
        yield token
        position = token.end()


def _size(repetition: str, size: int) -> int:
    """The size of something repeated, written out."""
    counts = [int(count) for count in re.findall("[0-9]+", repetition)]
    if not counts:
        return size + 1
    return max(counts) * size + (size + 1 if ",}" in repetition else 0)
