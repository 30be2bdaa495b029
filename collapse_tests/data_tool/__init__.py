"""`collapse-data`: request sets and sentences by name, checked, built, mined and ranked."""
