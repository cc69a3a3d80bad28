"""Drift detection: compares live features and scores with those that the served model was trained on.

The reference (:mod:`~streams.drift.drift_reference`), its calibration, the detectors and the track of a partition are
pure: they use no Kafka, no clock and no randomness of their own. Only the app, its consumer, the state store and
:mod:`~streams.drift.following` do I/O: faust reads, Kafka transactions write the alerts and the state together with
the offset that the state has reached.
"""
