"""Alembic's migrations of the database, the same for MySQL and SQLite."""
