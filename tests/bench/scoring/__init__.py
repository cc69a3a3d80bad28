"""The benchmark of the scorer: its rate beside that of other ways to score a topic, and its latency."""
