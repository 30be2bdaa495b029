"""Fixtures for this repository's own tests; the gate itself needs none of them."""

from __future__ import annotations

pytest_plugins = ["pytester", "fixtures.tiny_models", "fixtures.pytester_cases", "fixtures.file_server"]
