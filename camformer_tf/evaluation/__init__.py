"""Predictions → scores, scorecards, comparisons, intervals and reports."""
