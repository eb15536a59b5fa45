"""Say in one line what an error of MLflow means: an outage, which passes, or a refusal, which stays until the user acts."""

import re
from typing import NamedTuple

from sr.runtime.error import UserError
from sr.runtime.redact import mask_passwords
from sr.track.address import LOGIN_ADVICE

MAX_ERROR_LENGTH = 150  # characters


class Refusal(NamedTuple):
    """A kind of refusal: `pattern` is searched in `CODE: text` of the error."""

    pattern: str
    problem: str
    advice: str


REFUSALS = (  # the first one that matches
    Refusal(
        r"^UNAUTHENTICATED|^CUSTOMER_UNAUTHORIZED|error code 401\b",
        "it does not accept the user and password",
        LOGIN_ADVICE,
    ),
    Refusal(
        r"Invalid Host header|DNS rebinding",
        "it does not answer under this name",
        "start it with --allowed-hosts NAME, or use the name that it allows",
    ),
    Refusal(
        r"^PERMISSION_DENIED|error code 403\b",
        "this user may not do that there",
        "ask for the permission EDIT, or choose another track.experiment or user",
    ),
    Refusal(
        r"password authentication failed|no password supplied|no pg_hba\.conf entry|role \"[^\"]*\" does not exist"
        r"|Access denied for user|Login failed for user",
        "the database does not accept the user and password",
        "set MLFLOW_TRACKING_URI to its address with user and password, which are stored nowhere",
    ),
    Refusal(
        r"database \"[^\"]*\" does not exist|Unknown database|Cannot open database",
        "there is no such database",
        "create it, or correct the address",
    ),
    Refusal(
        r"readonly database|read-only transaction|permission denied for|command denied to user",
        "the database cannot be written to: it is read-only, or its file was deleted or moved",
        "permit this user to write to it, or choose another track.uri",
    ),
    Refusal(
        r"unable to open database file",
        "the database cannot be opened",
        "create its folder, or correct the path; in an address, %25 stands for %, %3F for ? and %23 for #",
    ),
    Refusal(
        r"no such table|UndefinedTable|relation \"[^\"]*\" does not exist|Table '[^']*' doesn't exist|no such column",
        "a table of the database is missing",
        "restore the database from a copy, or choose another one with track.uri",
    ),
    Refusal(
        r"file is not a database|database disk image is malformed",
        "the file is not a database, or it is damaged",
        "restore it from a copy, or choose another one with track.uri",
    ),
    Refusal(
        r"out-of-date database schema|Can't locate revision",
        "the database belongs to another version of MLflow",
        "of an older one: make a copy of it, then type mlflow db upgrade ADDRESS; of a newer one: pip install --upgrade mlflow",
    ),
    Refusal(
        r"No module named '(psycopg2|psycopg|MySQLdb|pymysql|pymssql|pyodbc)",
        "the driver of this database is not installed",
        "pip install 'psycopg[binary]' (PostgreSQL), or pip install pymysql and an address that begins with mysql+pymysql://",
    ),
    Refusal(
        r"^NoSuchModuleError|^ArgumentError|InvalidURL|Invalid url|Failed to parse|No host supplied|LocationParseError",
        "the address is not understood",
        "correct track.uri, or MLFLOW_TRACKING_URI",
    ),
    Refusal(
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "its certificate is not trusted",
        "set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its certificate authority",
    ),
    Refusal(
        r"Could not find a suitable TLS CA certificate bundle",
        "the file of its certificate authority is missing",
        "correct MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    Refusal(
        r"^ENDPOINT_NOT_FOUND|not in a valid JSON format|error code 404\b",
        "something else than MLflow answers there",
        "correct track.uri, or MLFLOW_TRACKING_URI",
    ),
)
_PREFIXES = re.compile(r"^(?:[A-Z_]{5,}: |\([\w.]+\) )+")  # `BAD_REQUEST: `, `(sqlite3.OperationalError) `
_VALUE_ERRORS = (
    "DataError|StringDataRightTruncation|NumericValueOutOfRange|UntranslatableCharacter|CharacterNotInRepertoire"
)
_DATABASE_ERROR = re.compile(rf"\((?:\w+\.)+(?!{_VALUE_ERRORS})\w+\) ")  # that is not about a value
VALUE_CODES = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # MLflow's, for what it will never accept


def find_refusal(error: Exception) -> Refusal | None:
    """Return what the user can do about an error that stays until they do; None for an outage, which passes."""
    text = _get_whole_text(error)
    return next((refusal for refusal in REFUSALS if re.search(refusal.pattern, text)), None)


def is_refusal(error: Exception) -> bool:
    """Return whether an error stays until the user acts."""
    return isinstance(error, UserError) or find_refusal(error) is not None


def is_value_error(error: Exception) -> bool:
    """Return whether MLflow refuses one value, whatever is done, and not the run."""
    is_about_database = _DATABASE_ERROR.search(str(error)) is not None
    return getattr(error, "error_code", "") in VALUE_CODES and not is_about_database and find_refusal(error) is None


def describe_error(error: Exception) -> str:
    """Return in one line, and without passwords, what an error says whose text may be pages long; of a refusal, what to do."""
    refusal = None if isinstance(error, UserError) else find_refusal(error)
    words = _shorten(error)
    return f"{refusal.problem} ({words}); {refusal.advice}" if refusal else words


def _shorten(error: Exception) -> str:
    """Return the words of an error without what SQLAlchemy and MLflow put before and after them."""
    text = mask_passwords(str(error))  # before anything is cut off, by which a password could be recognized
    if isinstance(error, UserError):
        return text
    match = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)|(\d{3} error)", text)
    if match:
        return next(filter(None, match.groups()))
    lines = [_PREFIXES.sub("", line) for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("(raised as a result of")]
    return (lines or [type(error).__name__])[0][:MAX_ERROR_LENGTH]


def _get_whole_text(error: Exception) -> str:
    """Return an error as `CODE: text`, or `Class: text` if it is not one of MLflow's."""
    code, text = getattr(error, "error_code", type(error).__name__), str(error)
    return text if text.startswith(f"{code}: ") else f"{code}: {text}"
