"""Alembic runs this to migrate the connection that `projections.schema.migrate` hands over."""

from __future__ import annotations

from alembic import context

from projections.tables import read_model

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=read_model().metadata,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
