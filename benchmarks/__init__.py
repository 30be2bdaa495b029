"""Measurements of this project that are too slow, or need too much, for its tests."""
