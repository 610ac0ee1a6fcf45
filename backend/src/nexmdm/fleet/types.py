"""The types that recur in requests of the fleet."""

from typing import Annotated

from pydantic import StringConstraints

FcmToken = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.-]{16,512}$")]
PackageName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+$", max_length=255)
]
