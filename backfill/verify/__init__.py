"""The verifier: what the pipeline published and stored, checked against a naive re-computation from the raw events.

It shares no code with the engine but the definitions: events are judged by the pydantic contract, derived columns are
computed by DuckDB, features by :mod:`streams.reference`, scores by onnxruntime.
"""
