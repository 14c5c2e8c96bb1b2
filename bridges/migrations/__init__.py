"""Alembic's migrations of the event store, the same for MySQL and SQLite."""
