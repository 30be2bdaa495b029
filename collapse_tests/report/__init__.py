"""Records to files, rows, terminal tables and failure messages; sees nothing of the run but its records."""
