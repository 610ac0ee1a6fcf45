"""A whole system under test: PostgreSQL, backend, fake FCM, and the launcher of all suites."""
