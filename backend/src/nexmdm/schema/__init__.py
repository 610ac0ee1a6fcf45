"""The database schema: metadata of all tables, rights, migrations."""
