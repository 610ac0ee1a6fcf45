"""What is asked of mounts: the parameters of their methods, and what each kind of backend has to be told."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from nexmdm.http.types import FREE_TEXT, Maybe, Shape, Whole
from nexmdm.platform.paths import Path

Text = Annotated[str, Field(pattern=FREE_TEXT, max_length=1024)]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Line = Annotated[str, Field(pattern=r"^[ -~]{1,512}$")]


class NewMount(Shape):
    """A mount to be added. `backend_config`: the shape of its backend says what stands there."""

    mount_point: Path
    backend_type: Word
    backend_config: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")], Line] = Field(
        max_length=16, json_schema_extra={"additionalProperties": False}
    )
    priority: Annotated[int, Whole(-1000, 1000)] = 0
    readonly: bool = False
    description: Maybe[Text] = None


class OneMount(Shape):
    """The mount at this point."""

    mount_point: Path


class RemovedMount(Shape):
    """`force`: also with changes that its backend has not got, and with open conflicts, which are lost."""

    mount_point: Path
    force: bool = False


class Nothing(Shape):
    """No parameters."""


class Listed(Shape):
    """By default of every category."""

    category: Maybe[Word] = None


class OwnersOf(Shape):
    """`object`: `file`, and a path."""

    object: Annotated[list[Path], Field(min_length=2, max_length=2)]


class Local(Shape):
    """A directory of the service's machine. `root_path`: below an allowed root; made where it is absent."""

    root_path: Annotated[str, Field(pattern=r"^/[ -~]{1,511}$")]


class S3(Shape):
    """A bucket. `endpoint`: by default that of AWS. Nobody is shown what stands here."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Maybe[Annotated[str, Field(pattern=r"^[A-Za-z0-9!_*'()-][A-Za-z0-9!_.*'()/-]{0,255}$")]] = None
    endpoint: Maybe[Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.\[\]:_-]{1,255}(/[A-Za-z0-9._~/-]*)?$")]] = None
    region: Maybe[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]] = None
    access_key_id: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    secret_access_key: Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]


class Native(Shape):
    """The zone's own files. The root is their only mount."""


BACKENDS: Final[dict[str, type[Shape]]] = {"local": Local, "s3": S3, "native": Native}
SEALED: Final = "secret_access_key"
CONNECTORS: Final[list[dict[str, Any]]] = [
    {
        "name": name,
        "type": name,
        "category": category,
        "description": (shape.__doc__ or "").partition(".")[0],
        "schema": shape.model_json_schema(),
    }
    for (name, shape), category in zip(BACKENDS.items(), ("storage", "storage", "platform"), strict=True)
]
