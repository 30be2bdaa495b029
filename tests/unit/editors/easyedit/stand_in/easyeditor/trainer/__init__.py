"""A package laid out like EasyEdit, with algorithms of a few lines; like there, importing it whole takes too much."""

raise ImportError("the whole package must not be imported")
