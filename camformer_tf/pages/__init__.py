"""Arrays to plots and self-contained HTML pages."""
