"""The problem types of the fleet."""

from collections.abc import Mapping
from typing import Final

from nexmdm.kernel.problems import ProblemType

TOKEN_EXPIRED: Final = ProblemType("token_expired", 401, "The enrolment token has expired")
TOKEN_REVOKED: Final = ProblemType("token_revoked", 401, "The enrolment token was revoked")
TOKEN_EXHAUSTED: Final = ProblemType("token_exhausted", 401, "The enrolment token has no uses left")
DEVICE_NOT_FOUND: Final = ProblemType("device_not_found", 404, "There is no such device")
TOKEN_NOT_FOUND: Final = ProblemType("token_not_found", 404, "There is no such enrolment token")
DISPATCH_NOT_FOUND: Final = ProblemType("dispatch_not_found", 404, "There is no such dispatch")
NO_BUILD: Final = ProblemType("no_build", 404, "No build has been uploaded")
ALIAS_MISMATCH: Final = ProblemType("alias_mismatch", 409, "The alias is not the token's")
DEVICE_RETIRED: Final = ProblemType("device_retired", 409, "The device is retired")
REQUEST_ID_CONFLICT: Final = ProblemType("request_id_conflict", 409, "The request id was used for another command")
TOKEN_NOT_ACTIVE: Final = ProblemType("token_not_active", 409, "The enrolment token is not active")
BUILD_EXISTS: Final = ProblemType("build_exists", 409, "The build exists already")
RANGE_NOT_SATISFIABLE: Final = ProblemType("range_not_satisfiable", 416, "The range lies outside the build")
CHECKSUM_MISMATCH: Final = ProblemType("checksum_mismatch", 422, "The body does not have the given checksum")
NOT_AN_APK: Final = ProblemType("not_an_apk", 422, "The body is not an APK")

# By the status of an enrolment token that is not active.
NOT_ACTIVE: Final[Mapping[str, ProblemType]] = {
    "expired": TOKEN_EXPIRED,
    "revoked": TOKEN_REVOKED,
    "exhausted": TOKEN_EXHAUSTED,
}
