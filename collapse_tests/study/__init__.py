"""`collapse-study`: the tables and the figure of the study, from records and from edits of a wanted perplexity."""
