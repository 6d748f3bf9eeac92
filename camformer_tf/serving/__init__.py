"""A run becomes a served model."""
