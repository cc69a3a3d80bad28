"""Backfill: replays a range of event time into Parquet files, and joins labels to them for a training set.

A backfill changes nothing that the live pipeline uses: it has its own Flink job, consumer group and scratch topic.
Planning (:mod:`~backfill.planning`) is pure; this package may not import the drift app.
"""
