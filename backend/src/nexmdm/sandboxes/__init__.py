"""The allocation broker: a pool of lab sandboxes, each given to one student, once (seed 003)."""
