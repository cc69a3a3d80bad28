"""Drift: is what the model is given now still what it was trained on, and does it still answer alike?

The reference (:mod:`~streams.drift.reference`), its calibration, the detectors and the track of a partition are pure:
no Kafka, no clock, no randomness of their own. The app reads with faust and writes with transactions; what it keeps
is in Kafka, with the offsets up to which it holds.
"""
