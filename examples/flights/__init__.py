"""Arrival delays of real flights: the pipeline in `pipeline.py`, its messages in `replay.py`."""
