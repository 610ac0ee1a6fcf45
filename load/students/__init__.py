"""Students as a closed loop: they ask the broker for sandboxes, and each waits for its answer before it goes on."""
