"""Card fraud: the pipeline in `pipeline.py`, the simulation in `simulation.py`, its messages in `world.py`."""
