"""PostgreSQL: template and clones, the read-only role, outages, and every way to fail.

It shares one server between the cases that do not bring it down.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness.postgres import server as postgres_module
from harness.postgres.binaries import _trustworthy
from harness.postgres.server import Postgres, PostgresError
from harness.settings import SECRETS
from harness.tests.conftest import Playground


def fill(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE devices (device_id int PRIMARY KEY, alias text)")
        connection.execute("INSERT INTO devices VALUES (1, 'D01')")


def count(url: str) -> int:
    with psycopg.connect(url, connect_timeout=2) as connection:
        (row,) = connection.execute("SELECT count(*) FROM devices").fetchall()
        return int(row[0])


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres.start() as started:
        started.template(fill)
        yield started


def test_it_starts_in_time_and_durable(server: Postgres) -> None:
    begun = time.monotonic()
    with Postgres.start() as another, psycopg.connect(another.admin_url) as connection:
        assert time.monotonic() - begun < 10, "3 s on a quiet machine"
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchall() == [("on",)]
        assert connection.execute("SHOW listen_addresses").fetchall() == [("",)]
        assert connection.execute("SHOW server_version_num").fetchall()[0][0] >= "180000"
        assert another.admin_url != server.admin_url


def test_it_need_not_be_durable_and_takes_settings() -> None:
    own = {"max_wal_size": "3GB"}
    with Postgres.start(durable=False, settings=own) as quick, psycopg.connect(quick.admin_url) as connection:
        assert connection.execute("SHOW fsync").fetchall() == [("off",)]
        assert connection.execute("SHOW max_wal_size").fetchall() == [("3GB",)]


def test_clones_are_copies_that_do_not_share(server: Postgres) -> None:
    first, second = server.clone("first"), server.clone("second")
    with psycopg.connect(first) as connection:
        connection.execute("INSERT INTO devices VALUES (2, 'D02')")
    assert (count(first), count(second)) == (2, 1)
    server.drop("first")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        count(first)
    assert count(server.clone("first")) == 1
    server.drop("never made")


def test_the_template_is_made_once(server: Postgres) -> None:
    server.template(lambda _: pytest.fail("migrated again"))
    attached = Postgres.attach(server.admin_url, template_name=server.template_name)
    assert count(attached.clone("by_attached")) == 1
    attached.stop()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        count(server.url("by_attached"))
    assert count(server.clone("still_up")) == 1


def test_a_migration_that_fails_makes_no_template() -> None:
    with Postgres.start() as own:

        def broken(url: str) -> None:
            raise RuntimeError("no such revision")

        with pytest.raises(RuntimeError, match="no such revision"):
            own.template(broken)
        assert own.template_name is None


def test_an_attached_server_is_left_as_it_was(server: Postgres) -> None:
    before = databases(server)
    attached = Postgres.attach(server.admin_url)
    attached.template(fill)
    attached.clone("temporary")
    attached.stop()
    assert databases(server) == before


def give(url: str, role: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"GRANT SELECT ON devices TO {role}")


def test_the_services_role_has_what_it_was_granted_and_no_more(server: Postgres) -> None:
    attached = Postgres.attach(server.admin_url)
    attached.template(fill, give)
    role = attached.app_role
    assert role is not None
    # What a worker of the run is handed is enough to know the role, too.
    worker = Postgres.attach(server.admin_url, template_name=attached.template_name)
    url = worker.app_url(worker.clone("for_app"))
    assert worker.app_role == role
    assert count(url) == 1
    with psycopg.connect(url) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("DELETE FROM devices")
    assert SECRETS.mask(url) != url, "the role's password"
    worker.stop()
    attached.stop()
    assert attached.app_role is None, "the server is left as it was"


def test_where_roles_cannot_be_made_the_given_user_stays(server: Postgres) -> None:
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE tenant LOGIN CREATEDB")
    attached = Postgres.attach(server.url("postgres", "tenant"))
    attached.template(fill, lambda *_: pytest.fail("nobody to grant anything to"))
    url = attached.clone("for_tenant")
    assert (attached.app_role, attached.app_url(url)) == (None, url)
    attached.stop()


def databases(server: Postgres) -> set[str]:
    with psycopg.connect(server.admin_url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}


def test_the_reader_reads_everything_and_changes_nothing(server: Postgres) -> None:
    url = server.clone("for_reader")
    with psycopg.connect(url) as owner:
        owner.execute("ALTER TABLE devices ENABLE ROW LEVEL SECURITY")  # and no policy lets anybody see a row
    with psycopg.connect(server.reader_url(url), autocommit=True) as reader:
        assert reader.execute("SELECT alias FROM devices").fetchall() == [("D01",)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("DELETE FROM devices")
        reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM devices")
    assert count(url) == 1


def test_without_the_reader_role_the_transactions_are_read_only(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "READER_ROLE", "no_such_role")
    url = server.reader_url(server.clone("for_other_reader"))
    with psycopg.connect(url) as reader, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        reader.execute("DELETE FROM devices")
    assert count(url) == 1


def test_one_database_can_be_down_while_the_others_live(server: Postgres) -> None:
    down, up = server.clone("down"), server.clone("up")
    with psycopg.connect(down) as held:
        server.refuse("down")
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            count(down)
        with pytest.raises(psycopg.OperationalError):
            held.execute("SELECT 1")
    assert count(up) == 1
    server.accept("down")
    assert count(down) == 1


def test_paused_it_hangs_halted_it_refuses_and_both_end() -> None:
    with Postgres.start() as own:
        own.template(fill)
        url = own.clone("data")
        own.pause()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            count(url)
        own.resume()
        assert count(url) == 1
        own.halt()
        assert own.pid is None
        with pytest.raises(psycopg.OperationalError, match=r"No such file|refused"):
            count(url)
        own.restart()
        assert count(url) == 1, "the data outlives a restart"
        own.pause()  # and is stopped in spite of it


@pytest.mark.slow
def test_killed_it_is_gone_at_once_and_recovers_what_was_committed() -> None:
    with Postgres.start() as own:
        own.template(fill)
        url = own.clone("data")
        with psycopg.connect(url) as held:
            held.execute("INSERT INTO devices VALUES (2, 'D02')")
            held.commit()
            held.execute("INSERT INTO devices VALUES (3, 'D03')")
            own.kill()
            assert not own.running
            with pytest.raises(psycopg.OperationalError):
                held.execute("SELECT 1")
        own.kill()  # nothing is left to kill
        own.restart()
        assert count(url) == 2, "what was committed, and nothing else"
        assert "was not properly shut down" in own._log.read_text()


@pytest.mark.parametrize("what", ["pause", "resume", "halt", "kill", "restart"])
def test_somebody_elses_server_is_not_brought_down(server: Postgres, what: str) -> None:
    attached = Postgres.attach(server.admin_url)
    assert not attached.owned
    with pytest.raises(PostgresError, match="did not start"):
        getattr(attached, what)()


def test_a_server_that_is_not_there_is_an_error_without_its_password() -> None:
    with pytest.raises(PostgresError) as caught:
        Postgres.attach("postgresql://postgres:verysecret@127.0.0.1:9/postgres?connect_timeout=2")
    assert "refused" in str(caught.value)
    assert "verysecret" not in str(caught.value)


def test_a_folder_that_holds_something_is_refused_with_the_reason(playground: Playground) -> None:
    folder = playground.folder / "data"
    folder.mkdir()
    (folder / "precious").write_text("data")
    with pytest.raises(PostgresError, match="exists but is not empty"):
        Postgres.start(folder)
    assert (folder / "precious").read_text() == "data"
    shutil.rmtree(folder)


def test_a_cluster_in_a_given_folder_is_kept(playground: Playground) -> None:
    folder = playground.folder / "kept"
    Postgres.start(folder).stop()
    assert (folder / "PG_VERSION").read_text() == "18\n"
    shutil.rmtree(folder)


def test_a_server_that_dies_at_start_is_an_error_with_its_log() -> None:
    with Postgres.start() as own:
        own.halt()
        own._argv += ["-c", "shared_buffers=nonsense"]
        with pytest.raises(PostgresError, match=r"ended with exit code 1[\s\S]*shared_buffers"):
            own.restart()


def test_programs_that_another_user_could_have_put_there_are_not_trusted(tmp_path: Path) -> None:
    folder, me = tmp_path / "programs", os.getuid()
    assert not _trustworthy(folder, me)
    folder.mkdir(mode=0o755)
    assert _trustworthy(folder, me)
    assert not _trustworthy(folder, me + 1)
    folder.chmod(0o777)
    assert not _trustworthy(folder, me)
    (tmp_path / "link").symlink_to(tmp_path)
    assert not _trustworthy(tmp_path / "link", me)
