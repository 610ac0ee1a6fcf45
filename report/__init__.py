"""The report: one self-contained HTML page for a suite folder, from its artifacts. It judges nothing."""
