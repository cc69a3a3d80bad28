"""Backfills: replay a range of event time into Parquet files, and join labels to them for a training set.

A backfill does not affect the live pipeline: it has its own Flink job, consumer group and scratch topic.
Planning (:mod:`~backfill.planning`) is pure; this package may not import the drift app.
"""
