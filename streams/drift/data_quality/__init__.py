"""Data quality: watches raw events, before the contract refuses any, for faults of those who produce them.

What is counted (:mod:`partition_counts`, :mod:`hours`), what was learnt of a good time (:mod:`learning`), and what is
unusual (:mod:`topic_watch`) are pure: no Kafka, no clock. Only the store and the runner do I/O.
"""
