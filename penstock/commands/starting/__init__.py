"""``penstock init`` and ``penstock new-view``: begin a project, and add to it."""
