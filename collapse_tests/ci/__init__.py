"""What CI systems read: exit codes, summaries, annotations and reports, from records alone."""
