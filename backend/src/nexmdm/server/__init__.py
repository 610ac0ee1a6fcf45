"""uvicorn and what is added to it: processes, listener, connections, the HTTP fast path."""
