"""The local stack: every server Penstock needs, as plain processes on 127.0.0.1, without a container engine.

`stack` is the public face. Each module in `services/` holds all that the stack knows of one service. `supervision` runs
the processes.
"""
