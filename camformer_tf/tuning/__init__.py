"""A search space becomes a winning recipe."""
