"""``penstock run``, ``ps``, ``top`` and ``stop``, and their screen."""
