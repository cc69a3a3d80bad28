"""The base class of every check's result."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_EXAMPLES = 20


@dataclass
class Findings:
    """The number of mismatches, and a description of the first :data:`MAX_EXAMPLES`."""

    mismatches: int = 0
    examples: list[str] = field(default_factory=list)

    def mismatch(self, text: str) -> None:
        """Count a mismatch and keep its description as an example."""
        self.mismatches += 1
        self.note(text)

    def note(self, text: str) -> None:
        """Keep the text as an example, unless there are :data:`MAX_EXAMPLES` already."""
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(text)
