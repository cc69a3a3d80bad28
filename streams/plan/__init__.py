"""The plan: a pipeline's definition, compiled to plain data.

``compiler`` makes a plan from a definition, ``model`` is the plan, and ``hashing`` detects a view whose meaning has
changed. The other modules derive from it: SQL of derived columns, feature records, committed forms, topics.
"""
