"""The fake provider over real HTTP: its API, its scripts, its ledger, and being down.

It speaks to it as the backend does and never reaches into its state.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.provider.server import SILENT, ProviderControl, ProviderError, ProviderServer
from harness.waiting import eventually


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer.start() as started:
        yield started


@pytest.fixture
def provider(server: ProviderServer) -> ProviderControl:
    server.control.reset()
    return server.control


def ask(
    server: ProviderServer, method: str, path: str, *, token: str | None = None, timeout_s: float = 10
) -> tuple[int, dict[str, str], bytes]:
    base = urlsplit(server.url)
    connection = http.client.HTTPConnection(base.netloc, timeout=timeout_s)
    try:
        headers = {"Authorization": f"Token {server.token if token is None else token}"}
        connection.request(method, base.path + path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def listed(server: ProviderServer) -> Any:
    status, _, body = ask(server, "GET", "/current_user/accounts")
    assert status == 200
    return json.loads(body)["results"]


def delete(server: ProviderServer, account: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return ask(server, "DELETE", f"/sandbox/accounts/{last_segment(account)}")


def last_segment(account: dict[str, Any]) -> str:
    return str(account["id"]).rpartition("/")[2]


def test_what_was_put_in_is_listed_with_the_fields_of_the_provider(
    server: ProviderServer, provider: ProviderControl
) -> None:
    first, second = provider.add(2)
    [other] = provider.add(account_type="tenant", state="pending")
    provider.put({"name": "lacks the rest"}, first)
    assert listed(server) == [first, second, other, {"name": "lacks the rest"}, first] == provider.accounts()
    assert sorted(first) == ["account_type", "created_at", "csp_id", "id", "name", "state"]
    assert (first["account_type"], first["state"]) == ("sandbox", "active")
    assert first["csp_id"] != second["csp_id"]
    assert first["id"].startswith("identity/accounts/")


def test_the_list_follows_changes_by_hand(server: ProviderServer, provider: ProviderControl) -> None:
    first, second = provider.add(2)
    provider.change(first["csp_id"], state="inactive", name="renamed")
    provider.remove(second["csp_id"])
    assert listed(server) == [first | {"state": "inactive", "name": "renamed"}]
    with pytest.raises(ProviderError, match="no such account"):
        provider.change(second["csp_id"], name="gone")


@pytest.mark.parametrize("token", ["", "another", "ü"])
def test_another_token_is_refused_and_deletes_nothing(
    server: ProviderServer, provider: ProviderControl, token: str
) -> None:
    [account] = provider.add()
    assert ask(server, "GET", "/current_user/accounts", token=token)[0] == 401
    assert ask(server, "DELETE", f"/sandbox/accounts/{last_segment(account)}", token=token)[0] == 401
    assert provider.accounts() == [account]
    assert [call["authorized"] for call in provider.calls()] == [False, False]


def test_a_deleted_account_is_gone_and_the_ledger_says_so(server: ProviderServer, provider: ProviderControl) -> None:
    first, second = provider.add(2)
    assert delete(server, first)[0] == 204
    assert delete(server, first)[0] == 404
    assert listed(server) == [second]
    done, again, look = provider.calls()
    assert (done["operation"], done["id"], done["csp_id"]) == ("delete", last_segment(first), first["csp_id"])
    assert (done["status"], done["effect"], again["status"], again["effect"]) == (204, True, 404, False)
    assert done["at"] <= done["ended_at"] <= again["at"]
    assert again["csp_id"] is None
    assert look["operation"] == "list"
    assert provider.calls("delete", after=done["seq"]) == [again]


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500, 502, 503])
def test_a_scripted_refusal_changes_nothing(server: ProviderServer, provider: ProviderControl, status: int) -> None:
    [account] = provider.add()
    for operation in ("list", "delete"):
        provider.script(operation, [{"status": status, "retry_after": 7}])
    status_of_list, headers, _ = ask(server, "GET", "/current_user/accounts")
    assert (status_of_list, headers["Retry-After"]) == (status, "7")
    assert delete(server, account)[0] == status
    assert listed(server) == [account]
    assert delete(server, account)[0] == 204, "the script is used up"


def test_a_script_for_one_account_leaves_the_others_alone(server: ProviderServer, provider: ProviderControl) -> None:
    first, second = provider.add(2)
    provider.script("delete", [{"status": 500, "times": 0}], last_segment(first))
    assert [delete(server, one)[0] for one in (first, second, first)] == [500, 204, 500]


def test_every_nth_request_fails(server: ProviderServer, provider: ProviderControl) -> None:
    provider.script("list", [{"status": 503, "every": 3, "times": 0}])
    assert [ask(server, "GET", "/current_user/accounts")[0] for _ in range(6)] == [200, 200, 503] * 2


@pytest.mark.parametrize(
    "answer,effect",
    [
        ({"status": 200, "effect": False}, False),
        ({"status": 500, "effect": True}, True),
        ({"status": 202}, True),
    ],
)
def test_answer_and_effect_of_a_deletion_may_differ(
    server: ProviderServer, provider: ProviderControl, answer: dict[str, Any], effect: bool
) -> None:
    [account] = provider.add()
    provider.script("delete", [answer])
    assert delete(server, account)[0] == answer["status"]
    assert provider.accounts() == ([] if effect else [account])
    assert provider.calls()[-1]["effect"] is effect


@pytest.mark.parametrize("effect", [False, True])
def test_a_connection_is_dropped_before_or_after_the_effect(
    server: ProviderServer, provider: ProviderControl, effect: bool
) -> None:
    [account] = provider.add()
    provider.script("delete", [{"drop": True, "effect": effect}])
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        delete(server, account)
    assert provider.accounts() == ([] if effect else [account])
    assert provider.calls()[-1]["status"] == 0


def test_something_else_answers_in_its_place(server: ProviderServer, provider: ProviderControl) -> None:
    provider.script("list", [{"body": b"<html>", "retry_after": "soon"}, {"status": 500, "body": b'{"e": "<b>"}'}])
    status, headers, body = ask(server, "GET", "/current_user/accounts")
    assert (status, headers["Content-Type"], headers["Retry-After"], body) == (200, "text/html", "soon", b"<html>")
    assert ask(server, "GET", "/current_user/accounts")[::2] == (500, b'{"e": "<b>"}')


def test_an_answer_is_cut_short_or_redirects(server: ProviderServer, provider: ProviderControl) -> None:
    provider.script("list", [{"body": b"{}", "cut": True}, {"status": 302, "location": "http://127.0.0.1:9/"}])
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        ask(server, "GET", "/current_user/accounts")
    status, headers, _ = ask(server, "GET", "/current_user/accounts")
    assert (status, headers["Location"]) == (302, "http://127.0.0.1:9/")


def test_an_answer_is_slow_drips_or_never_comes(server: ProviderServer, provider: ProviderControl) -> None:
    provider.script("list", [{"delay_s": 0.3}, {"body": b'{"a":1}', "drip_s": 0.05}, SILENT])
    begun = time.monotonic()
    assert listed(server) == []
    assert time.monotonic() - begun >= 0.3
    begun = time.monotonic()
    assert ask(server, "GET", "/current_user/accounts")[2] == b'{"a":1}'
    assert time.monotonic() - begun >= 0.3
    with pytest.raises(TimeoutError):
        ask(server, "GET", "/current_user/accounts", timeout_s=0.2)
    assert provider.calls()[-1]["ended_at"] is None


def test_down_is_refused_and_up_knows_what_it_knew(server: ProviderServer, provider: ProviderControl) -> None:
    [account] = provider.add()
    listed(server)
    try:
        provider.down()
        provider.down()
        with pytest.raises(ConnectionRefusedError):
            listed(server)
        assert len(provider.calls()) == 1
    finally:
        provider.up()
    assert listed(server) == [account]


def test_down_ends_what_is_going_on(server: ProviderServer, provider: ProviderControl) -> None:
    provider.script("list", [SILENT])
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            listed(server)
        except OSError as error:
            seen.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    provider.calls(wait_s=5)
    try:
        provider.down()
        waiting.join(timeout=5)
        assert len(seen) == 1
    finally:
        provider.up()


def test_the_ledger_waits_for_the_first_request(server: ProviderServer, provider: ProviderControl) -> None:
    begun = time.monotonic()
    assert provider.calls(wait_s=0.2) == []
    assert time.monotonic() - begun >= 0.2
    later = threading.Timer(0.2, listed, (server,))
    later.start()
    [first] = provider.calls("list", wait_s=10)
    later.join()
    assert time.monotonic() - begun < 5
    eventually(lambda: provider.calls()[0]["ended_at"], within_s=2.0)
    assert provider.calls(after=first["seq"]) == []


@pytest.mark.parametrize("answer", [{"stat": 503}, {"status": 99}, {"times": -1}, {"every": 0}, "503"])
def test_a_typo_in_a_script_is_an_error_and_not_a_success(provider: ProviderControl, answer: Any) -> None:
    with pytest.raises(ProviderError, match="refused POST /script: 400"):
        provider.script("list", [answer])


def test_an_unknown_operation_is_refused(provider: ProviderControl) -> None:
    with pytest.raises(ProviderError, match="operation: one of"):
        provider.script("lists", [])  # type: ignore[arg-type] # the mistake is the point


def test_stop_twice_is_fine_and_its_control_is_gone() -> None:
    own = ProviderServer.start()
    own.stop()
    own.stop()
    with pytest.raises(ProviderError, match="does not answer"):
        own.control.calls()
