"""The fake provider of sandboxes: a process that lists and deletes like the real one and tells what it was asked."""
