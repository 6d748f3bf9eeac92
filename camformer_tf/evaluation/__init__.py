"""Predictions become a judgement."""
