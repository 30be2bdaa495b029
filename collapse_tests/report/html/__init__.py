"""One page about a run: records to view models, view models to a file that opens without a network."""
