"""A simulated library: motif grammar, promoters, measurement noise."""
