"""Types of command-line options that several suites have."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def server_setting(text: str) -> tuple[str, str]:
    """NAME=VALUE of PostgreSQL's configuration."""
    name, separator, value = text.partition("=")
    if not separator or not name.replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text}: must be NAME=VALUE, as in postgresql.conf")
    return name, value


def setting(text: str) -> tuple[str, str]:
    """NAME=VALUE of the backend's environment."""
    name, separator, value = text.partition("=")
    if not separator or not name.startswith("NEXMDM_"):
        raise argparse.ArgumentTypeError(f"{text}: must be NEXMDM_NAME=VALUE")
    return name, value
