"""Whether a topic is still the one that is archived: one that was made anew has another id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sinks.archive.placing import made_anew


class TopicIds:
    """Kafka's ids of topics.

    Args:
        ask: Asks Kafka for the ids of topics; one that it does not tell is left out.
        topics: The topics.

    Attributes:
        first: The ids at the start, of the topics that had one: commit records have these.
    """

    def __init__(self, ask: Callable[[Sequence[str]], Mapping[str, str]], topics: Sequence[str]) -> None:
        self._ask, self.first = ask, ask(topics)

    def check(self, topics: Sequence[str]) -> None:
        """Ask again; a topic whose id is not told passes.

        Raises:
            PenstockError: if a topic was made anew: what was read since may be of either.
        """
        asked = [topic for topic in topics if topic in self.first]
        for topic, now in self._ask(asked).items() if asked else ():
            if now != self.first[topic]:
                raise made_anew(topic, "while it was archived: it has another id")


NO_IDS = TopicIds(lambda _: {}, ())
"""Of topics whose ids Kafka does not tell."""
