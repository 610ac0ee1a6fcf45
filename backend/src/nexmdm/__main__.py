"""`python -m nexmdm`: the command line without its script. It holds nothing of its own."""

from nexmdm.cli import app

app(prog_name="nexmdm")
