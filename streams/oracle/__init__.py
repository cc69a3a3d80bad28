"""The oracle: the semantics of features, computed naively in Python and DuckDB from the raw rows.

It is the judge of every engine, so it shares no code with one, and it may be slow.
"""
