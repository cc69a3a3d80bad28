"""What a check found: the base of each check's own findings."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_EXAMPLES = 20


@dataclass
class Findings:
    """Mismatches, and the first of them in words."""

    mismatches: int = 0
    examples: list[str] = field(default_factory=list)

    def mismatch(self, text: str) -> None:
        """Count a mismatch."""
        self.mismatches += 1
        self.note(text)

    def note(self, text: str) -> None:
        """Keep the text if it is among the first."""
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(text)
