"""Runs cases in batches on one model: what an edit cannot change is computed once."""
