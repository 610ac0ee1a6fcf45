"""What an audit finds amiss."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """What does not agree, a sentence each, by the words of harness/oracles/reconcile.py."""

    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    landed: list[str] = field(default_factory=list)
