"""What every service's routes share: bodies, pagination, credentials, admission, the access log."""
