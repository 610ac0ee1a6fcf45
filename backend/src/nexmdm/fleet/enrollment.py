"""Enrolment tokens: created in batches, listed without the token, revoked. `registration` consumes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import func, select
from sqlmodel import col

from nexmdm.fleet import metrics
from nexmdm.fleet.auth import TOKEN_STATUS, mint_enrolment_token
from nexmdm.fleet.events import TOKEN_CREATE, TOKEN_REVOKE
from nexmdm.fleet.problems import TOKEN_NOT_ACTIVE, TOKEN_NOT_FOUND
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.devices import EnrollmentToken
from nexmdm.http.admin_auth import ADMIN_ONLY, Admin
from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_A_BODY, OF_AN_ADMIN
from nexmdm.http.runtime import Session, database
from nexmdm.http.types import FREE_TEXT, Alias, Id, Maybe, Shape, Unique, Whole
from nexmdm.kernel import rate_limits
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit, new_id
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers

router = APIRouter(tags=["enrolment"], dependencies=ADMIN_ONLY)

Scope = Literal["register", "apk_download"]
Note = Annotated[str, StringConstraints(pattern=FREE_TEXT, max_length=500)]
TokenStatus = Literal["active", "expired", "revoked", "exhausted"]


class TokenBatch(Shape):
    """The aliases to make a token for, and what each token allows."""

    aliases: Annotated[Unique[Alias], Field(min_length=1, max_length=100)]
    expires_in_s: Annotated[int, Whole(1, 604_800)] = 2700
    uses_allowed: Annotated[int, Whole(1, 1000)] = 1
    scope: Scope = "register"
    note: Maybe[Note] = None


class IssuedToken(BaseModel):
    """A token, shown this once."""

    token_id: UUID
    alias: str
    token: str
    scope: str
    expires_at: datetime
    uses_allowed: int


class IssuedTokens(BaseModel):
    """The batch, in the order of the aliases."""

    tokens: list[IssuedToken]


class TokenView(BaseModel):
    """An enrolment token without the token."""

    token_id: UUID
    alias: str
    scope: str
    status: TokenStatus
    note: str | None
    issued_by: str
    created_at: datetime
    expires_at: datetime
    uses_allowed: int
    uses_consumed: int
    last_used_at: datetime | None
    revoked_at: datetime | None


class Revocation(BaseModel):
    """What became of the token; `note` says where it had been revoked before."""

    token_id: UUID
    status: Literal["revoked"]
    revoked_at: datetime
    note: str | None


_batch = JsonBody[TokenBatch](TokenBatch)


async def _creation_limit(request: Request, admin: Admin) -> None:
    await rate_limits.hit(database(request), "token_create", admin, fleet(request).settings.limit_token_create)


async def create_tokens(session: Session, batch: TokenBatch, issued_by: str) -> list[IssuedToken]:
    """Make one token per alias; all or none."""
    issued: list[IssuedToken] = []
    now = (await session.execute(select(func.now()))).scalar_one()
    for alias in batch.aliases:
        token, token_hash = mint_enrolment_token()
        row = EnrollmentToken(
            token_id=UUID(new_id()),
            alias=alias,
            token_hash=token_hash,
            scope=batch.scope,
            issued_by=issued_by,
            note=batch.note,
            created_at=now,
            expires_at=now + timedelta(seconds=batch.expires_in_s),
            uses_allowed=batch.uses_allowed,
        )
        session.add(row)
        issued.append(IssuedToken(token=token, **row.model_dump(include=set(IssuedToken.model_fields) - {"token"})))
    with Operation("create", "enrollment_tokens", token_ids=[str(made.token_id) for made in issued]):
        await session.commit()
    for made in issued:
        emit(TOKEN_CREATE, token_id=str(made.token_id), alias=made.alias, scope=made.scope)
    metrics.tokens_issued.inc(len(issued))
    return issued


async def revoke_token(session: Session, token_id: UUID) -> Revocation:
    """End an active token. The row lock decides between a revocation and a registration that race."""
    query = select(EnrollmentToken, TOKEN_STATUS).where(col(EnrollmentToken.token_id) == token_id)
    row = (await session.execute(query.with_for_update())).first()
    if row is None:
        raise Problem(TOKEN_NOT_FOUND)
    token: EnrollmentToken = row[0]
    if row.status == "revoked" and token.revoked_at is not None:
        return Revocation(token_id=token_id, status="revoked", revoked_at=token.revoked_at, note="already revoked")
    if row.status != "active":
        raise Problem(TOKEN_NOT_ACTIVE, f"The token is {row.status}.")
    with Operation("update", "enrollment_tokens", token_id=str(token_id)):
        revoked_at = (await session.execute(select(func.now()))).scalar_one()
        token.revoked_at = revoked_at
        await session.commit()
    emit(TOKEN_REVOKE, token_id=str(token_id), alias=token.alias)
    return Revocation(token_id=token_id, status="revoked", revoked_at=revoked_at, note=None)


@router.post(
    "/v1/enroll-tokens",
    operation_id="createEnrollTokens",
    dependencies=[Depends(_creation_limit)],
    responses=answers(*OF_A_BODY, *OF_AN_ADMIN),
    openapi_extra=_batch.openapi,
)
async def create(batch: Annotated[TokenBatch, Depends(_batch)], admin: Admin, session: Session) -> IssuedTokens:
    """Issue one enrolment token per alias."""
    return IssuedTokens(tokens=await create_tokens(session, batch, issued_by=admin))


@router.get(
    "/v1/enroll-tokens",
    operation_id="listEnrollTokens",
    responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR),
)
async def list_tokens(
    paging: Annotated[Paging, Depends()],
    session: Session,
    status: TokenStatus | None = None,
    alias: Annotated[Alias | None, Query()] = None,
) -> Page[TokenView]:
    """List tokens, newest first, without the tokens themselves."""
    query = select(EnrollmentToken, TOKEN_STATUS)
    if status is not None:
        query = query.where(TOKEN_STATUS.in_([status]))
    if alias is not None:
        query = query.where(col(EnrollmentToken.alias) == alias)
    return await paging.read(
        session, query, col(EnrollmentToken.created_at), col(EnrollmentToken.token_id), _view, UUID
    )


def _view(row: Any) -> TokenView:
    return TokenView(status=row.status, **row[0].model_dump())


@router.delete(
    "/v1/enroll-tokens/{token_id}",
    operation_id="revokeEnrollToken",
    responses=answers(*OF_AN_ADMIN, TOKEN_NOT_FOUND, TOKEN_NOT_ACTIVE, VALIDATION_ERROR),
)
async def revoke(token_id: Id, session: Session) -> Revocation:
    """Revoke a token."""
    return await revoke_token(session, token_id)
