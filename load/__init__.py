"""Load scenarios, their profiles, and the runner that owns the verdict. It imports no other suite."""
