"""A pipeline's definitions over rows at hand: in this process and a child of it, no cluster, no store.

The kernel that jobs run decodes, validates, de-duplicates and computes windows; DuckDB and Python derive columns, as
they do for the verifier. ``features`` is that; ``cases`` and ``verdicts`` are tests of features as data files.
"""
