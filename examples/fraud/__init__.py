"""Card fraud: the pipeline in `pipeline.py`, simulated payments in `simulation.py`, their messages in `delivery.py`."""
