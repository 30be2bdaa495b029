import a_library_nobody_has  # type: ignore[import-not-found] # noqa: F401 - to be missed
