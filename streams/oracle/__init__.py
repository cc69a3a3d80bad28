"""The oracle: a naive implementation of the semantics, in Python and DuckDB, from the raw rows.

Every engine is compared with it. So it must not use an engine's code, and it may be slow. It shares with the engines
only what belongs to the definition: the author's Python functions, and the parsing of references in SQL.
"""
