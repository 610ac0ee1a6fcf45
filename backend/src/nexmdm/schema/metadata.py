"""The metadata of every table. The revisions create the same schema; `alembic check` compares the two."""

from typing import Final

from sqlalchemy import MetaData
from sqlmodel import SQLModel

import nexmdm.fleet.tables
import nexmdm.kernel.tables
import nexmdm.platform.agent_tables
import nexmdm.platform.brick_tables
import nexmdm.platform.mount_tables
import nexmdm.platform.tables
import nexmdm.platform.task_tables
import nexmdm.sandboxes.tables  # noqa: F401 - imported for their tables

METADATA: Final[MetaData] = SQLModel.metadata
