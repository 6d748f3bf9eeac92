"""Arrays → pictures and self-contained HTML pages."""
