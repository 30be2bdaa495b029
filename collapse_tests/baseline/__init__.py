"""What an earlier run found, kept in a small file, and how a run compares with it."""
