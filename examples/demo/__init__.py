"""The demo: both example pipelines on a local stack of their own, from raw events to verified predictions.

It uses the same commands as an operator would (``penstock job start``, ``penstock sink run``, ...); ``run`` tells the
story, ``services`` runs the commands, ``producing`` and ``watching`` stand for the systems up and down stream,
``consumers`` sees who is behind, ``timeline`` keeps what was seen, ``screen`` shows it and ``summary`` ends it.

The report: ``evidence`` reads what the topics say afterwards, ``figures`` makes plots of it (``axes`` and ``plots``
know how), ``page`` the document. Apart from ``evidence``'s reading they are pure.
"""
