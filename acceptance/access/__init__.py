"""Who may call what: credentials, signatures, the authorisation matrix."""
