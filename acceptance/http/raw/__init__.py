"""Requests as bytes that no HTTP client sends and no fuzzer makes, each with its one right answer."""
