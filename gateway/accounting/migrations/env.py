"""What alembic runs: the steps, on the connection that `migrate` hands over."""

from alembic import context

import gateway.accounting.totals  # noqa: F401 (its tables join the metadata)
from gateway.accounting.database import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
