"""A network and batches become a run."""
