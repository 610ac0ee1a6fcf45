"""Builds of the agent: uploaded once, kept under their SHA-256, downloaded by devices. It never changes a build."""

from fastapi import APIRouter

from nexmdm.fleet.apk import builds, downloads

router = APIRouter()
router.include_router(builds.router)
router.include_router(downloads.router)

__all__ = ["router"]
