"""What a service declares about itself. `app` and `cli` concatenate the declarations; nothing registers itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.http.cross_origin import CrossOrigin
from nexmdm.http.fast_path import Endpoint
from nexmdm.http.runtime import Runtime
from nexmdm.kernel.database import Database
from nexmdm.kernel.log import Event
from nexmdm.kernel.problems import ProblemType
from nexmdm.kernel.rights import Rights
from nexmdm.kernel.settings import Settings
from nexmdm.kernel.standing_queue import StandingQueue

Job = Callable[[Database, Settings, asyncio.Event], Coroutine[Any, Any, None]]  # works until the event is set
Lifespan = Callable[[Runtime], AbstractAsyncContextManager[object]]  # yields the service's state


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What is removed of one table. `remove` returns how many rows went, and whether that was all of them.

    `logged` is False for a table that has no period of its own.
    """

    entity: str
    cutoff: Callable[[Settings, datetime], datetime]
    remove: Callable[[AsyncEngine, datetime, datetime], Awaitable[tuple[int, bool]]]  # cutoff, now
    logged: bool = True


@dataclass(frozen=True, kw_only=True)
class Service:
    """A part of the product that can be switched off as a whole (`NEXMDM_SERVICES`).

    Attributes:
        metric_labels: series that exist with 0 from the start, as the values of each label of a metric.
        rate_limits, queues: values of the labels of `nexmdm_rate_limited` and `nexmdm_shed`.
        prepare: what retention does first, such as making the partitions of the days to come.
        fast_path: the endpoint that the HTTP fast path serves.
        direct: handlers of POSTs by path, called without the framework's dependencies and models, which cost as much as
            the rest of such a request. A route of the same path describes each.
        standing: by path, the queue in which its requests wait; admission keeps it short.
        cross_origin: what pages of other origins may do.
        database_answers: whether the service has just seen the database answer.
    """

    name: str
    settings: type[Settings] = Settings
    routers: Sequence[APIRouter] = ()
    problems: Sequence[ProblemType] = ()
    events: Sequence[Event] = ()
    metric_labels: Mapping[Any, Sequence[Sequence[str]]] = field(default_factory=dict)
    rights: Rights = field(default_factory=Rights)
    rate_limits: Sequence[str] = ()
    queues: Sequence[str] = ()
    prepare: Callable[[AsyncEngine, datetime], Awaitable[None]] | None = None
    retention: Sequence[RetentionPolicy] = ()
    jobs: Mapping[str, Job] = field(default_factory=dict)
    lifespan: Lifespan | None = None
    fast_path: Callable[[Runtime], Endpoint] | None = None
    direct: Mapping[str, Callable[[Request], Awaitable[Response]]] = field(default_factory=dict)
    standing: Mapping[str, Callable[[Settings], StandingQueue]] = field(default_factory=dict)
    cross_origin: CrossOrigin | None = None
    database_answers: Callable[[Runtime], bool] | None = None
