"""The oracle: the semantics of features, computed naively in Python and DuckDB from the raw rows.

It is the judge of every engine, so it computes nothing with an engine's code, and it may be slow. It shares with the
engines what belongs to the definition: the author's Python functions, and how names in SQL are read.
"""
