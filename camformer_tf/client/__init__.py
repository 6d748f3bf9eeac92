"""Models by path or URL: local ones, and those of running servers."""
