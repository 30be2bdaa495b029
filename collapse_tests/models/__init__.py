"""Names to specifications to editable models; one adapter per architecture family."""
