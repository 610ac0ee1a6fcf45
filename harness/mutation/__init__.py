"""Copies of the backend with one behaviour changed."""
