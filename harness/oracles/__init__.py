"""What decides whether a run was right: history, reconciliation, log schemas, secret scan."""
