"""The refusal of a command of the operator."""


class CommandError(Exception):
    """A command cannot be done as asked. The text is one line, for the operator."""
