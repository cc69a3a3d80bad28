"""The plan: what a pipeline's definition means, compiled to plain data.

``compiler`` makes a plan from a definition, ``model`` is the plan, ``hashing`` tells whether a view still means the
same. The other modules derive from it: SQL of derived columns, feature records, committed forms, topics.
"""
