"""Measurements of edited models: numbers, never verdicts."""
