"""A recipe becomes a network, and a network's predictions become a table."""
