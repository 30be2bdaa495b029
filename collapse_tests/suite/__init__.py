"""The tests that `--editor` runs; also `pytest --pyargs collapse_tests.suite`."""
