"""Alembic runs this to migrate the connection that it is handed; the event store has a version table of its own."""

from __future__ import annotations

from alembic import context

from bridges.event_store_tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
