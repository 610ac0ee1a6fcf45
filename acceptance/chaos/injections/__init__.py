"""The faults: each is a context manager that hurts on entry, lets the traffic meet it, and heals on exit.

Does not measure or judge: experiment.py does. What an operator heals in real life is healed here; what the service must
get over by itself is left alone.
"""
