"""A simulated library of promoters: motif grammar and measurement noise."""
