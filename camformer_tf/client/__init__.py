"""Predictions from a running server."""
