"""Named cases as data (``*.json``, the form of docs/testing-features.md), run by the oracle, the kernel and a real job.

A definition that a case needs goes into ``pipeline.py``; a counter-example that a random test found becomes a case.
"""
