"""The system under test as a case sees it: API, database, logs, metrics, FCM inbox."""
