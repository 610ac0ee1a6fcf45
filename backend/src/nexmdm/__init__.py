"""NexMDM: a compact control plane for a fleet of Android devices. Holds the version; importing it starts nothing."""

__version__ = "0.1.0"
