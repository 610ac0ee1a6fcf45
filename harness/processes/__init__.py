"""Child processes that never outlive the run."""
