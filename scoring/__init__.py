"""Scoring: the exactly-once consumer, the Triton client with its in-process fallback, and the model registry."""
