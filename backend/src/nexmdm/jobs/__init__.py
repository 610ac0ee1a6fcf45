"""Background work: the worker process and retention."""
