"""The pool of sandboxes from outside: seeded, asked by students, verified."""
