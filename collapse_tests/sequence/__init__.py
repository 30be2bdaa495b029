"""Edits one after the other on the same weights: given sequences, and a search for those that collapse a model."""
