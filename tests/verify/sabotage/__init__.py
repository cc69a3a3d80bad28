"""Sabotage: each mutant is one way in which a run can go wrong, applied to a recorded good run.

The verifier must refuse every one of them. Whoever adds a promise adds its mutants here: one module for each part of a
run, one function for each mutant (:mod:`tests.verify.sabotage.catalogue`).
"""
