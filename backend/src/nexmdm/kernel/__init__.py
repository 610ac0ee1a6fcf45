"""The ground floor: settings, log, metrics, database, problems, rate limits. It knows no service and no HTTP route."""
