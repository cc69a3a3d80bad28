"""The demo: both example pipelines on a local stack of their own, from raw events to verified predictions.

It uses the same commands as an operator would (``penstock job start``, ``penstock sink run``, ...); ``run`` tells the
story, ``services`` runs the commands, ``producing`` and ``watching`` stand for the systems up and down stream,
``screen`` shows it.
"""
