"""Drift detection: compares a model's live inputs and scores with its training data.

The reference, its calibration, the detectors and the track of a partition are pure: no Kafka, no clock, no own source
of randomness. Only the app, its follower and the state store do I/O: faust reads, transactions write. All state is in
Kafka, together with the offsets that it covers.
"""
