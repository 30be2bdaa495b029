"""Hard requests of any model: single edits of many requests, and what of them collapsed it."""
