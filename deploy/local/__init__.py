"""The local stack: every server Penstock needs, as plain processes on 127.0.0.1, without a container engine.

`stack` is the public face; `services/` knows one server per module; `supervision` and `processes` know processes only.
"""
