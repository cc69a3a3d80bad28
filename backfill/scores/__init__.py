"""Scores of past events: which events, with what, where to, and which decisions a change of policy would have flipped.

Nothing here touches what is served: no offset of a group is committed, and no model server is asked.
"""
