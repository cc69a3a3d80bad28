"""The SQL of definitions: expressions over one row, with one meaning in the job (Flink) and in the oracle (DuckDB).

A definition's text is parsed to a tree (:mod:`.parser`); the types of its names are then put in and conversions made
explicit (:mod:`.typed`); each engine's text is generated from that (:mod:`.generate`). :mod:`.functions` lists all that
an expression may use, as data; ``docs/reference/sql.md`` is made of it. The modules here know no pipeline.
"""
