"""The command line. It parses, configures and calls; what a command does stands elsewhere."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import typer
from sqlalchemy.exc import DBAPIError

from nexmdm.kernel import log
from nexmdm.kernel import settings as configuration
from nexmdm.kernel.command_error import CommandError
from nexmdm.kernel.log import configure
from nexmdm.kernel.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from nexmdm.server.processes import OnStop

# Half a second of a start were looks at what its imports made, all of which stays. Later, what a request leaves goes by
# its count of references; cycles are few.
gc.set_threshold(20_000, 20, 20)
app = typer.Typer(
    name="nexmdm", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="NexMDM backend."
)
retention_app = typer.Typer(no_args_is_help=True, help="Delete what is past its days.")
app.add_typer(retention_app, name="retention")
keys_app = typer.Typer(no_args_is_help=True, help="API keys: named admins, and labs. Run as the owner of the database.")
app.add_typer(keys_app, name="keys")
platform_app = typer.Typer(no_args_is_help=True, help="Zones, files and events.")
app.add_typer(platform_app, name="platform")

FAILED = 1
BAD_CONFIGURATION = 2


def _complain(text: str) -> None:
    """One line on stderr. Where that lies on a full disk or nobody reads it, the exit code has to do."""
    with suppress(OSError):
        os.write(2, f"nexmdm: {text}\n".encode(errors="backslashreplace"))


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        _complain(f"configuration error: {error}")
        raise typer.Exit(BAD_CONFIGURATION) from None
    except CommandError as error:
        _complain(f"{error}")
        raise typer.Exit(FAILED) from None
    except OSError as error:  # the port is taken, the database is not there; `filename` says which
        about = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        _complain(f"{about}{reason}")
        raise typer.Exit(FAILED) from None
    except asyncpg.InterfaceError as error:  # by its type alone: what it says may quote the URL
        _complain(f"the database's driver refused: {type(error).__name__}")
        raise typer.Exit(FAILED) from None
    except (DBAPIError, asyncpg.PostgresError) as error:
        refusal = error.orig if isinstance(error, DBAPIError) else error
        _complain(f"the database refused: {str(refusal).splitlines()[0]}")
        raise typer.Exit(FAILED) from None


def _load(**overrides: Any) -> Settings:
    """Settings from the environment; options of the command line win."""
    from nexmdm.app import settings_class, switched_on

    loaded = configuration.load(settings_class())
    switched_on(loaded)
    return loaded.model_copy(update={name: value for name, value in overrides.items() if value is not None})


def _open_log(settings: Settings) -> None:
    from nexmdm.kernel import metrics

    configure(settings.log_level, settings.log_buffer_bytes, metrics.count_lost_lines)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [env NEXMDM_HOST]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0 takes a free one. [env NEXMDM_PORT]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Web processes. [env NEXMDM_WORKERS]")] = None,
    background: Annotated[bool, typer.Option(help="Also run the dispatcher and the scheduler.")] = True,
) -> None:
    """Serve the API; with it, unless told otherwise, one background process."""
    from nexmdm.server import processes

    with _one_line_errors():
        settings = _load(host=host, port=port, workers=workers)
        from sqlalchemy.orm import configure_mappers

        from nexmdm.app import create_app

        configure_mappers()  # here for all processes: each took 30 ms for it at its first statement
        _open_log(settings)
        raise typer.Exit(processes.serve(settings, create_app, _work(settings) if background else None))


@app.command()
def worker() -> None:
    """Run the dispatcher and the scheduler alone, beside web processes that run elsewhere."""
    from nexmdm.server import processes

    with _one_line_errors():
        settings = _load()
        _open_log(settings)
        raise typer.Exit(processes.run_alone(_work(settings)))


def _work(settings: Settings) -> Callable[[OnStop], Coroutine[Any, Any, None]]:
    from nexmdm.app import switched_on
    from nexmdm.jobs import worker

    return partial(worker.run, settings, switched_on(settings))


@app.command()
def migrate(
    to: Annotated[str, typer.Option(help="head, a revision to go up to, or base or -N to go down.")] = "head",
) -> None:
    """Bring the database schema to a revision. Needs NEXMDM_DATABASE_URL only."""
    with _one_line_errors():
        url = configuration.migration_url()
        from nexmdm.schema import migrations

        if to == "base" or to.startswith("-"):
            migrations.downgrade(url, to)
        else:
            migrations.upgrade(url, to)


@app.command()
def grant(role: Annotated[str, typer.Argument(help="The role that the service connects as; it has to exist.")]) -> None:
    """Give a database role exactly the rights that the service needs. Run as the owner, after `migrate`."""
    with _one_line_errors():
        url = configuration.migration_url()
        from nexmdm.app import rights
        from nexmdm.schema import grants

        asyncio.run(grants.grant(url, role, rights()))


@retention_app.command("run")
def retention_run() -> None:
    """Apply the retention periods once, now."""
    with _one_line_errors():
        settings = _load()
        _open_log(settings)
        from nexmdm.app import switched_on
        from nexmdm.jobs import retention
        from nexmdm.kernel.database import Database

        async def run() -> None:
            log.origin.set(log.Origin(name="worker:retention"))
            async with aclosing(Database(settings)) as db:
                await retention.run(db.engine, settings, switched_on(settings), datetime.now(UTC))

        asyncio.run(run())


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="What the key is known by, in logs too; never given twice.")],
    role: Annotated[
        str, typer.Option(help="What it may do: admin, track (ask for sandboxes), member or agent (of a zone).")
    ],
    services: Annotated[
        list[str] | None, typer.Option(help="The services it is good for, with commas between. All if left out.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="The zone of a member or an agent.")] = None,
    subject: Annotated[str | None, typer.Option(help="The agent that an agent's key speaks for; default NAME.")] = None,
) -> None:
    """Make a key and print it, this once, as one JSON object."""
    with _one_line_errors():
        url = configuration.migration_url()
        from nexmdm.app import SERVICES
        from nexmdm.kernel import keys
        from nexmdm.platform.zone_keys import zone_takes_keys

        known = [service.name for service in SERVICES]
        wanted = [service.strip() for part in services for service in part.split(",")] if services else None

        def show(key: str, row: keys.Key) -> None:
            # Straight to the descriptor: a closed, full or broken stdout must keep the key from being made.
            os.write(1, f"{json.dumps({'key': key, **row.shown()})}\n".encode())

        new = keys.NewKey(name=name, role=role, services=wanted, zone=zone, subject=subject)
        asyncio.run(keys.create(url, new, known, show, None if zone is None else partial(zone_takes_keys, zone=zone)))


@keys_app.command("list")
def keys_list() -> None:
    """Print all keys as a JSON array, without the keys themselves."""
    with _one_line_errors():
        url = configuration.migration_url()
        from nexmdm.kernel import keys

        typer.echo(json.dumps([row.shown() for row in asyncio.run(keys.listing(url))]))


@keys_app.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="The name that the key was made with.")]) -> None:
    """Revoke a key: its next request is refused, everywhere."""
    with _one_line_errors():
        url = configuration.migration_url()
        from nexmdm.kernel import keys

        typer.echo(json.dumps(asyncio.run(keys.revoke(url, name)).shown()))


@platform_app.command("init")
def platform_init(
    file: Annotated[Path, typer.Option(help="Where NEXUS_URL and NEXUS_API_KEY go, readable for you alone.")] = Path(
        ".nexus-admin-env"
    ),
) -> None:
    """Make the zones corp and corp-eng and an admin's key, unless they are there. Run as the owner of the database."""
    with _one_line_errors():
        settings = _load()
        from nexmdm.platform import init

        typer.echo(asyncio.run(init.init(settings, file)))


@app.command("check-config")
def check_config() -> None:
    """Check the environment and say which settings are in force, secrets left out."""
    with _one_line_errors():
        for name, value in sorted(_load().model_dump(mode="json").items()):
            typer.echo(f"{configuration.PREFIX}{name.upper()}={json.dumps(value)}")


@app.command()
def routes() -> None:
    """Print what the code implements as OpenAPI JSON, made from the routes and not from the contract."""
    from nexmdm.app import create_api

    typer.echo(json.dumps(create_api(None).openapi()))
