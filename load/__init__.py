"""Load scenarios, their profiles, and the runner that owns the verdict. It deliberately imports no other suite."""
