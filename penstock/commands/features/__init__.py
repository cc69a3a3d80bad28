"""``penstock features``: describe, plan, test, get and explain features."""
