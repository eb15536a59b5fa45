"""Addresses of MLflow servers and databases: check, compare and store them. MLflow, which takes seconds, is not imported."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from sr.config.command_line import quote_override
from sr.record.identity import Identity
from sr.runtime.error import UserError
from sr.runtime.redact import is_masked, mask_passwords

SCHEMES = ("http", "https", "sqlite", "mysql", "postgresql", "mssql")
LOGIN_ADVICE = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_URI with user "
    "and password, which are stored nowhere"
)
DATABASE_FILE = "mlflow.db"
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!file:|:memory:)([^?]+)")
_CREDENTIALS = re.compile(r"(?<=://)[^/?#]*@")


def default_uri(runs: Path) -> str:
    """Return the address of the local database, `mlflow.db` in the folder of runs.

    SQLAlchemy decodes the path of an address. MLflow makes the folder of one that begins with `sqlite:`, without decoding
    it: of the folder `a%b` it would make `a%25b` as well. It does not so with the longer name of the same database.
    """
    path = str(runs / DATABASE_FILE)
    encoded = re.sub("[%?#]", lambda character: quote(character[0]), path)
    return f"sqlite:///{path}" if encoded == path else f"sqlite+pysqlite:///{encoded}"


def find_database(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for another address."""
    match = _SQLITE.match(uri)
    return Path(unquote(match[1])) if match else None


def format_file_uri(database: Path, mode: str) -> str:
    """Return what `sqlite3` opens with `uri=True`: `mode` is `ro`, or `rw`, which creates no file."""
    path = database.absolute().as_posix().lstrip("/")  # after two slashes SQLite would read the name of a host
    return f"file:/{quote(path, safe='/:')}?mode={mode}"


def is_server(uri: str) -> bool:
    """Return whether the address is that of an MLflow server, and not of a database."""
    return uri.startswith(("http:", "https:"))


def check_uri(uri: str) -> None:
    """Raise if an address is mistyped, so that nothing could ever answer."""
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in SCHEMES:
        raise UserError(
            f"track.uri={mask_passwords(uri)}: expected the address of an MLflow server, such as http://127.0.0.1:5000, or "
            "of a database, such as sqlite:////home/me/mlflow.db (also in MLFLOW_TRACKING_URI); track=none or "
            "track=journal does without"
        )
    authority, rest = re.fullmatch(r"([^/?#]*)(.*)", uri.partition("://")[2], re.DOTALL).groups()
    has_odd_user = "@" in authority and re.search(r"[\s@\"'<>\\]", authority.rpartition("@")[0])
    # `me:a/b@host` would be read as a host `me` and its port.
    has_cut_user = "@" in rest and "@" not in authority and re.search(r":(?!\d*$)", authority)
    if find_database(uri) is None and (has_odd_user or has_cut_user):
        raise UserError(  # without the address, since it cannot be known where its password ends
            "track.uri: expected @ / ? # and quotation marks in user and password to be percent-encoded, such as %40 for @; "
            "python -c 'import urllib.parse as u; print(u.quote(input(), safe=\"\"))' encodes a line"
        )


def remove_credentials(uri: str) -> str:
    """Return an address without user, password and other secrets, as it may be stored in a file."""
    if find_database(uri):
        return uri
    address, _, query = _CREDENTIALS.sub("", uri).partition("?")
    harmless = [pair for pair in query.split("&") if pair and not is_masked(mask_passwords(f"://?{pair}"))]
    return "?".join([address, *(["&".join(harmless)] if harmless else [])])


def describe_location(uri: str) -> str:
    """Return where an MLflow is, for messages: the file of a database, or the address without secrets."""
    return str(find_database(uri) or remove_credentials(uri))


def format_run_address(identity: Identity | None) -> str | None:
    """Return the address of a run's page; None if it has none, or lies in a database without a server."""
    if identity is None or identity.run_id is None or not is_server(identity.uri or ""):
        return None
    return f"{remove_credentials(identity.uri).rstrip('/')}/#/runs/{identity.run_id}"


def resolve_address(identity: Identity | None, runs: Path) -> str:
    """Return the address of the MLflow that a run belongs to: where it began, or the database in `runs`.

    The stored address has no credentials; that of the environment is returned if it is the same but for these. Of a
    local database whose folder does not exist any more, `runs` is where the folder was moved to.
    """
    from_environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    if identity is None or identity.uri is None:
        return from_environment or default_uri(runs)
    database = find_database(identity.uri)
    if database and not database.parent.is_dir():
        return default_uri(runs)
    return from_environment if remove_credentials(from_environment) == identity.uri else identity.uri


def restore_credentials(override: str) -> str:
    """Return `track.uri=ADDRESS` with the user and password of the environment in place of masked ones.

    They are those of `MLFLOW_TRACKING_URI`, if it is the same server, or the ones that MLflow itself reads from other
    variables. Any other override is returned as it is, and so is a masked one that the environment does not complete.
    """
    key, _, value = override.partition("=")
    if key.lstrip("+") != "track.uri" or not is_masked(value):
        return override
    plain = remove_credentials(value.strip("'\""))
    from_environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    if remove_credentials(from_environment) == plain:
        return f"{key}={quote_override(from_environment)}"
    has_user = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"} <= os.environ.keys()
    is_known = is_server(plain) and (has_user or "MLFLOW_TRACKING_TOKEN" in os.environ)
    return f"{key}={quote_override(plain)}" if is_known else override
