"""A PostGIS database: how its tables are named, reached and looked up.

A table is ``postgresql://user@host:port/database?table=schema.name``. The address has no place for a password: it goes
into logs and metadata. libpq takes the password from ``~/.pgpass`` or ``PGPASSWORD``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

from eaves.errors import EavesError, OutputError
from eaves.exchange.provenance import ITEM, unpack

if TYPE_CHECKING:
    from psycopg import Connection

WAIT_S = 15
"""How long to wait for a server, or for others to let go of a table."""

_SCHEME = re.compile(r"postgres(?:ql)?:(//?)")  # a pathlib.Path has folded two slashes into one
_NAME_BYTES = 63  # the server cuts off what is longer


class Target(NamedTuple):
    """A table, and the server that it is on.

    Attributes:
        address: URI as libpq takes it; never with a password.
        place: Host and database.
        schema: The table's schema.
        table: Its name.
    """

    address: str
    place: str
    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table} in {self.place}"


class Relation(NamedTuple):
    """What bears a name in a schema.

    Attributes:
        oid: Its number in the catalogue.
        is_table: A plain table, no view or index.
        note: What Eaves wrote into its comment; none for others' tables.
        is_own: Whether this user may drop it.
    """

    oid: int
    is_table: bool
    note: dict[str, Any] | None
    is_own: bool


def is_database(path: str | Path) -> bool:
    """Whether a path names a table of a database."""
    return _SCHEME.match(_text(path)) is not None


def check_table(path: str | Path) -> None:
    """Fail before long work rather than after it: connect, and look whether the table can be made. Creates nothing.

    Raises:
        OutputError: It cannot, or something else bears its name.
    """
    target = parse_target(path, OutputError)
    with connected(target, OutputError) as connection:
        check_place(connection, target)


def parse_target(path: str | Path, trouble: type[EavesError]) -> Target:
    """Take a table's address apart.

    Raises:
        EavesError: ``trouble``, which never repeats a password: there is one, or no table, or its name is too long.
    """
    text = _text(path)
    scheme = _SCHEME.match(text)
    assert scheme is not None
    rest = text[scheme.end() :]
    place, _, query = rest.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    options = [(unquote(key), unquote(value)) for key, _, value in pairs]  # libpq takes a + for itself, no space
    secret = any("password" in key.lower() or "secret" in key.lower() for key, _ in options)
    if secret or re.search(":.*@", rest):  # wherever the @ is: a password with a slash in it would hide behind that
        raise trouble(
            "the address of a database without a password",
            "one that may have one",
            "keep the password in ~/.pgpass or PGPASSWORD, and write an @ within a name as %40",
            because="addresses go into logs and metadata",
        )
    host, slash, database = place.rpartition("/")
    schema, dot, name = next((value for key, value in options if key == "table"), "").partition(".")
    schema, name = (schema, name) if dot else ("public", schema)
    if not database or not name or not schema or (scheme[1] == "//" and not slash):
        raise trouble("postgresql://user@host/database?table=schema.name", text, "name both database and table")
    if too_long := [part for part in (schema, name) if len(part.encode()) > _NAME_BYTES]:
        raise trouble(f"names of at most {_NAME_BYTES} bytes", too_long[0], "shorten it")
    others = dict(option for option in options if option[0] != "table")
    others.setdefault("connect_timeout", str(WAIT_S))
    server = unquote(host.rpartition("@")[2]) or "this machine"
    address = f"postgresql://{host}/{database}?{urlencode(others, quote_via=quote)}"
    return Target(address, f"{unquote(database)} on {server}", schema, name)


@contextmanager
def connected(target: Target, trouble: type[EavesError]) -> Iterator[Connection[Any]]:
    """Open a transaction that a failure in the block undoes.

    Raises:
        EavesError: ``trouble``: no driver, no server, no PostGIS, or whatever the server refuses.
    """
    try:
        import psycopg
    except ImportError:
        raise trouble("psycopg, the driver for PostGIS", "none", "pip install 'eaves[postgis]'") from None
    try:
        with psycopg.connect(target.address, application_name="eaves") as connection:
            found = connection.execute(
                "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
                "WHERE extname = 'postgis'"
            ).fetchone()
            if found is None:
                raise trouble(f"PostGIS in {target.place}", "a database without", "run CREATE EXTENSION postgis in it")
            connection.execute("SELECT set_config('search_path', %s, true), set_config('TimeZone', 'UTC', true)", found)
            yield connection
    except (psycopg.Error, TypeError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise trouble(
            f"a server that does as asked with {target}", said, "check the address, the rights and the table"
        ) from None


def check_place(connection: Connection[Any], target: Target) -> None:
    """Look whether a table can be made, in the place of none or of an earlier one by Eaves.

    Raises:
        OutputError: It cannot.
    """
    row = connection.execute(
        "SELECT has_schema_privilege(oid, 'CREATE'), current_setting('transaction_read_only') = 'on' "
        "FROM pg_namespace WHERE nspname = %s",
        [target.schema],
    ).fetchone()
    if row is None:
        raise OutputError(f"the schema {target.schema} in {target.place}", "none of that name", "create it")
    may_create, read_only = row
    if read_only or not may_create:
        kind = "a server that only reads" if read_only else f"a schema {target.schema} that refuses new ones"
        raise OutputError(f"a place for the table {target}", kind, "choose another, or ask for the right to CREATE")
    there = find_relation(connection, target)
    if there is not None and (there.note is None or not there.is_table or not there.is_own):
        kind = "one that belongs to another user" if there.note is not None and there.is_table else "another's"
        raise OutputError(
            f"no table {target}, or one by eaves",
            kind,
            "choose another name, or drop it",
            because="a database keeps no copy of what is replaced",
        )


def find_relation(connection: Connection[Any], target: Target) -> Relation | None:
    """Look a name up in the catalogue."""
    row = connection.execute(
        "SELECT c.oid, c.relkind = 'r', obj_description(c.oid, 'pg_class'), pg_has_role(c.relowner, 'USAGE') "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        [target.schema, target.table],
    ).fetchone()
    if row is None:
        return None
    oid, is_table, comment, is_own = row
    note = unpack(comment).get(ITEM)
    return Relation(oid, is_table, note if isinstance(note, dict) else None, is_own)


def _text(path: str | Path) -> str:
    return path.as_posix() if isinstance(path, Path) else path
