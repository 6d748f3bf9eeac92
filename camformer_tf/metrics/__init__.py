"""Scores of predictions, in float64 and without TensorFlow."""
