"""Downstream accuracy with lm-eval's tasks, requests and metrics; only the scoring of the requests is ours."""
