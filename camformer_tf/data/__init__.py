"""Text becomes sequences, sequences become records, records become batches."""
