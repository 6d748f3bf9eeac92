"""Arrays become numbers, in float64 and without TensorFlow."""
