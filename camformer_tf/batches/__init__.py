"""Record set → training batches."""
