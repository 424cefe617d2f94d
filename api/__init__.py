"""The HTTP facade: rows in, JSON out. It never does data work and never knows Dagster's code."""
