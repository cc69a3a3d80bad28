"""Parses the text of an expression. What is not on the list is refused here, with the nearest thing that is.

``x BETWEEN a AND b``, ``x IN (a, b)`` and ``CASE x WHEN a ...`` become the comparisons that they stand for. So the
rest knows fewer forms, and each has the meaning of its comparisons.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache, reduce

from streams.definitions.sql.functions import FUNCTIONS, INSTEAD, TYPES, nearest
from streams.definitions.sql.tree import MAX_DEPTH, Call, Cast, Literal, Name, Node, SqlError, depth, written_out_size

KEYWORDS = frozenset(
    {"AND", "OR", "NOT", "IS", "NULL", "IN", "BETWEEN", "LIKE", "CASE", "WHEN", "THEN", "ELSE", "END", "TRUE", "FALSE"}
)
"""The words that are no name, unless quoted. Names of functions can name a column: it has no parenthesis behind it."""
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))"""
    r"""|(?P<name>[A-Za-z_]\w*|"[^"]+"|`[^`]+`)|(?P<sign>\|\||<>|!=|<=|>=|[-+*/%(),.<>=])""",
    re.ASCII,
)
_COMPARISONS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
# The parser and the generators recurse, and Flink generates code: all of it has limits.
_MAX_TOKENS = 1_000
_MAX_OPEN = 30
_MAX_SIZE = 2_000
_SPLIT = "split it into several, of which each uses the one before"


@lru_cache(maxsize=4096)
def parse(sql: str) -> Node:
    """The tree of an expression.

    Raises:
        SqlError: if it is not an expression, or uses something that is not on the list.
    """
    return _Parser(sql).expression_alone()


class _Token:
    def __init__(self, kind: str, text: str, at: int) -> None:
        self.kind = kind
        self.text = text
        self.at = at
        quoted = kind == "name" and text[0] in '"`'
        self.name = (text[1:-1] if quoted else text) if kind == "name" else ""
        # What the grammar compares with: a word in capitals, or a sign.
        self.word = "" if kind == "text" or quoted else text.upper()

    @property
    def is_name(self) -> bool:
        return bool(self.name) and self.word not in KEYWORDS


class _Parser:
    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = self._tokenize()
        self._next = 0
        self._open = 0

    def _tokenize(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self._sql):
            if self._sql[at].isspace():
                at += 1
                continue
            if self._sql.startswith(("--", "/*"), at):
                raise SqlError("comments are not allowed here: write them in Python", self._sql, at)
            if match := _TOKEN.match(self._sql, at):
                tokens.append(_Token(match.lastgroup or "", match[0], at))
                at = match.end()
                continue
            raise SqlError(self._not_a_token(at), self._sql, at)
        if len(tokens) > _MAX_TOKENS:
            raise SqlError(f"more than {_MAX_TOKENS} words and signs: {_SPLIT}", self._sql, tokens[_MAX_TOKENS].at)
        return [*tokens, _Token("end", "", len(self._sql))]

    def _not_a_token(self, at: int) -> str:
        character = self._sql[at]
        if character == "'":
            return "this text does not end: a quote inside of it is written twice ('')"
        if character.isdigit():
            return "not a number: write 12, 0.5 or 1.5e-3"
        return f"{character!r} is not allowed{INSTEAD.get(character, '')}"

    def expression_alone(self) -> Node:
        node = self._expression()
        token = self._token
        if token.kind != "end":
            before = self._tokens[self._next - 1]
            hint = INSTEAD.get(token.word) or INSTEAD.get(before.word, "")
            raise self._error(f"{token.text!r} is not expected here{hint}", token.at)
        if written_out_size(node) > _MAX_SIZE:
            raise self._error(f"too long with all that CASE, IN and BETWEEN compare several times: {_SPLIT}", 0)
        if depth(node) > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} operations, each of them on the last one: {_SPLIT}", 0)
        return node

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *words: str) -> _Token | None:
        """The next token if it is one of these words or signs."""
        token = self._token
        if token.kind != "end" and token.word in words:
            self._next += 1
            return token
        return None

    def _require(self, word: str) -> None:
        if self._take(word) is None:
            found = f"{self._token.text!r} is not expected here" if self._token.text else "the expression ends here"
            raise self._error(f"{found}: {word} must follow{INSTEAD.get(self._token.word, '')}", self._token.at)

    def _error(self, what: str, at: int) -> SqlError:
        return SqlError(what, self._sql, at)

    def _expression(self) -> Node:
        self._open += 1
        if self._open > _MAX_OPEN + 1:  # the expression itself, and the levels in it
            raise self._error(f"nested more than {_MAX_OPEN} levels: {_SPLIT}", self._token.at)
        node = self._chain(("OR",), lambda: self._chain(("AND",), self._negation))
        self._open -= 1
        return node

    def _chain(self, operators: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        """Operands with binary operators of one precedence between them, the left ones first."""
        node = operand()
        while token := self._take(*operators):
            node = Call({"%": "MOD"}.get(token.word, token.word), (node, operand()), at=token.at)
        return node

    def _negation(self) -> Node:
        count = 0
        at = self._token.at
        while self._take("NOT"):
            count += 1
        node = self._comparison()
        return node if count % 2 == 0 else Call("NOT", (node,), at=at)

    def _comparison(self) -> Node:
        left = self._sum()
        while True:
            if token := self._take(*_COMPARISONS):
                if token.word == "=" and self._token.word == "ANY" and self._tokens[self._next + 1].word == "(":
                    left = self._any(left)
                    continue
                left = Call(_COMPARISONS[token.word], (left, self._sum()), at=token.at)
            elif token := self._take("IS"):
                negated = self._take("NOT")
                self._require("NULL")
                left = _negated(Call("IS NULL", (left,), at=token.at), negated)
            elif self._token.word in ("NOT", "IN", "BETWEEN", "LIKE"):
                left = self._condition(left)
            else:
                return left

    def _any(self, left: Node) -> Node:
        """``= ANY(x)`` is ``ARRAY_CONTAINS(x, ...)``."""
        token = self._token
        self._next += 2
        node = Call("ARRAY_CONTAINS", (self._expression(), left), at=token.at)
        self._require(")")
        return node

    def _condition(self, left: Node) -> Node:
        """``[NOT] IN``, ``[NOT] BETWEEN`` or ``[NOT] LIKE``."""
        negated = self._take("NOT")
        token = self._take("IN", "BETWEEN", "LIKE")
        if token is None:
            raise self._error("after NOT here comes IN, BETWEEN or LIKE", self._token.at)
        if token.word == "LIKE":
            node: Node = Call("LIKE", (left, self._like_pattern()), at=token.at)
        elif token.word == "BETWEEN":
            low = self._sum()
            self._require("AND")
            bounds = (Call(">=", (left, low), at=token.at), Call("<=", (left, self._sum()), at=token.at))
            node = Call("AND", bounds, at=token.at)
        else:
            self._require("(")
            equal = [Call("=", (left, item), at=token.at) for item in self._list()]
            node = _balanced("OR", equal, token.at)
        return _negated(node, negated)

    def _like_pattern(self) -> Literal:
        node = self._sum()
        if not isinstance(node, Literal) or not isinstance(node.value, str):
            raise self._error("the pattern of LIKE must be a text, such as 'shop-%'", node.at)
        for character, instead in (("_", ": write SUBSTRING(x, 3, 1) = 'a', or CHAR_LENGTH(x) = 3"), ("\\", "")):
            if character in node.value:
                raise self._error(f"the pattern of LIKE cannot have {character!r}{instead}", node.at)
        return node

    def _sum(self) -> Node:
        return self._chain(("+", "-", "||"), lambda: self._chain(("*", "/", "%"), self._signed))

    def _signed(self) -> Node:
        at = self._token.at
        negative = False
        while token := self._take("-", "+"):
            negative ^= token.word == "-"
        node = self._operand()
        if isinstance(node, Literal) and node.type in ("long", "double"):
            assert isinstance(node.value, int | float)
            value = -node.value if negative else node.value
            if node.type == "long" and not -(2**63) <= value < 2**63:
                raise self._error(f"a whole number has 64 bits; write {abs(node.value)}e0 for a double", node.at)
            return Literal(value, node.type, at)
        return Call("NEGATE", (node,), at=at) if negative else node

    def _operand(self) -> Node:
        token = self._token
        self._next += 1
        if token.word == "(":
            node = self._expression()
            self._require(")")
            return node
        if token.word == "CASE":
            return self._case(token)
        if token.is_name:
            return self._call(token) if token.word and self._token.word == "(" else self._name(token)
        if (constant := self._constant(token)) is not None:
            return constant
        self._next -= 1
        what = f"{token.text!r} is not expected here" if token.text else "the expression ends here"
        before = self._tokens[self._next - 1] if self._next else token
        quoted = _quoted(token) or (_quoted(before) if before.word == "NOT" else "")
        raise self._error(f"{what}: a value must follow{INSTEAD.get(token.word, '')}{quoted}", token.at)

    def _constant(self, token: _Token) -> Literal | None:
        if token.kind == "text":
            if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in token.text):
                raise self._error("a text with a NUL or half a surrogate pair, which engines cannot take", token.at)
            return Literal(token.text[1:-1].replace("''", "'"), "string", token.at)
        if token.kind == "number":
            return self._number(token)
        if token.word == "NULL":
            return Literal(None, None, token.at)
        return Literal(token.word == "TRUE", "boolean", token.at) if token.word in ("TRUE", "FALSE") else None

    def _number(self, token: _Token) -> Literal:
        if token.text.isdigit():
            return Literal(int(token.text), "long", token.at)
        number = float(token.text)
        if not math.isfinite(number):
            raise self._error("a double ends at 1.8e308", token.at)
        return Literal(number, "double", token.at)

    def _name(self, token: _Token) -> Name:
        parts = [token.name]
        while self._take("."):
            part = self._token
            if not part.is_name:
                raise self._error(f"a name must follow the point{_quoted(part)}", part.at)
            self._next += 1
            parts.append(part.name)
        return Name(".".join(parts), at=token.at)

    def _list(self) -> list[Node]:
        """Expressions until the closing parenthesis."""
        items = [self._expression()]
        while self._take(","):
            items.append(self._expression())
        self._require(")")
        return items

    def _case(self, token: _Token) -> Node:
        at = token.at
        if self._token.kind in ("sign", "end") and self._token.word not in ("(", "+", "-"):
            raise self._error(f"{token.text!r} is not expected here: WHEN must follow it{_quoted(token)}", at)
        subject = None if self._token.word == "WHEN" else self._expression()
        operands: list[Node] = []
        while self._take("WHEN"):
            condition = self._expression()
            self._require("THEN")
            if subject is not None:
                condition = Call("=", (subject, condition), at=condition.at)
            operands += [condition, self._expression()]
        if not operands:
            self._require("WHEN")
        operands.append(self._expression() if self._take("ELSE") else Literal(None, None, at))
        self._require("END")
        return Call("CASE", tuple(operands), at=at)

    def _call(self, token: _Token) -> Node:
        self._require("(")
        if token.word in ("CAST", "TRY_CAST"):
            return self._cast(token)
        name = {"CEILING": "CEIL", "CHARACTER_LENGTH": "CHAR_LENGTH"}.get(token.word, token.word)
        if name not in FUNCTIONS:
            raise self._error(f"{token.text}(...) is not on the list of functions{nearest(name)}", token.at)
        function = FUNCTIONS[name]
        operands = [] if self._token.word == ")" else [self._expression()]
        # SUBSTRING(x FROM a FOR b) is SUBSTRING(x, a, b).
        while self._take(",", *(("FROM", "FOR") if name == "SUBSTRING" else ())):
            operands.append(self._expression())
        self._require(")")
        if problem := function.problem_of(operands):
            raise self._error(f"{problem}: {function.syntax}", token.at)
        if name == "COALESCE":  # of two: Flink's planner fails on some of its own with more
            return reduce(lambda rest, one: Call(name, (one, rest), at=token.at), reversed(operands))
        return Call(name, tuple(operands), at=token.at)

    def _cast(self, token: _Token) -> Node:
        operand = self._expression()
        if self._take("AS") is None:
            raise self._error("CAST(x AS ...) must name a type", self._token.at)
        kind = self._token
        if kind.word not in TYPES:
            raise self._error(f"{kind.text!r} is not a type here{nearest(kind.word, TYPES)}", kind.at)
        self._next += 1
        self._require(")")
        return Cast(operand, TYPES[kind.word], token.at)


def _quoted(token: _Token) -> str:
    """How an error goes on about a word of the language where a name was meant."""
    return f'; a column of this name is written "{token.text}", in quotes' if token.word in KEYWORDS else ""


def _negated(node: Node, negated: _Token | None) -> Node:
    return node if negated is None else Call("NOT", (node,), at=node.at)


def _balanced(operator: str, nodes: list[Call], at: int) -> Node:
    """The nodes joined by an operator, as a tree that is not deeper than needed."""
    if len(nodes) == 1:
        return nodes[0]
    half = len(nodes) // 2
    return Call(operator, (_balanced(operator, nodes[:half], at), _balanced(operator, nodes[half:], at)), at=at)
