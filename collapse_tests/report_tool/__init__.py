"""`collapse-report`: pages, figures and comparisons from the records of runs."""
