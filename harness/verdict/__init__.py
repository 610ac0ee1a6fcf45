"""Thresholds, judgements, artifacts."""
