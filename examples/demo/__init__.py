"""The demo: both example pipelines on a local stack of their own, from raw events to verified predictions.

It uses an operator's commands (``penstock job start``, ``penstock sink run``, ...). ``run`` holds the steps,
``services`` runs the commands, ``producing`` and ``watching`` replace the systems upstream and downstream,
``consumers`` measures lag, ``timeline`` records the measurements, ``screen`` shows them, ``summary`` prints the result.

The report: ``evidence`` reads the topics after the run, ``figures`` describes the plots (drawn by ``plots`` with
``scales``), and ``page`` makes the document. Only ``evidence`` does I/O.
"""
