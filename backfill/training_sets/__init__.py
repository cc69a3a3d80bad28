"""Training sets as folders of Parquet files: staged to disk, joined and sorted by DuckDB in bounded memory, checked.

``build`` is the entrance. ``staging`` reads topics and backfills, ``joining`` has the rules of the set as SQL,
``parts`` writes its files, ``leaks`` and ``probe`` look for features that saw their future, ``folder`` reads a set.
"""
