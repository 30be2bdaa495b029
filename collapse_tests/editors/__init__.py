"""Editors: the protocol, the registry, and one module per method."""
