"""The log events of the fleet. Each has a JSON Schema of its fields in the contract."""

from typing import Final

from nexmdm.kernel.log import Event

REGISTER_SUCCESS: Final = Event("register.success")
REGISTER_FAIL: Final = Event("register.fail")
HEARTBEAT_INGEST: Final = Event("heartbeat.ingest", "bulk")
HEARTBEAT_DEDUP_HIT: Final = Event("heartbeat.dedup_hit", "bulk")
DISPATCH_REQUEST: Final = Event("dispatch.request")
DISPATCH_SENT: Final = Event("dispatch.sent")
DISPATCH_RETRY: Final = Event("dispatch.retry")
DISPATCH_FAIL: Final = Event("dispatch.fail")
DISPATCH_EXPIRED: Final = Event("dispatch.expired")
DISPATCH_IDEMPOTENCY_HIT: Final = Event("dispatch.idempotency_hit")
ACTION_RESULT_INGEST: Final = Event("action_result.ingest")
ACTION_RESULT_REPLAY: Final = Event("action_result.replay")
TOKEN_CREATE: Final = Event("sec.token.create")
TOKEN_CONSUME: Final = Event("sec.token.consume")
TOKEN_REVOKE: Final = Event("sec.token.revoke")
TOKEN_EXPIRED: Final = Event("sec.token.expired")
DEVICE_RETIRE: Final = Event("device.retire")
FCM_TOKEN_MOVED: Final = Event("device.fcm_token_moved")
DEVICE_BODY_REFUSED: Final = Event("device.body_refused")
APK_UPLOAD: Final = Event("apk.upload")
APK_DOWNLOAD: Final = Event("apk.download")
SCRIPT_RENDER: Final = Event("script.render")
