"""Connect to Ray (https://docs.ray.io): to an existing cluster, or to one that is started on this machine."""

import os
import socket
from types import ModuleType

from sr.runtime.error import UserError

CONNECTION_SECONDS = 10.0


def connect_ray(address: str | None, cpus: int, option: str, address_option: str) -> ModuleType:
    """Return the package ray, connected to the cluster `address`; None: to a new one on this machine with so many CPUs.

    Raises `UserError`, which begins with `option` or `address_option`, if Ray is missing or nothing answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the default of its next version
    try:
        import ray
    except ImportError:
        raise UserError(f"{option}: expected the package ray: pip install 'sr[ray]'") from None
    options = {} if address else {"num_cpus": max(1, cpus), "include_dashboard": False}
    try:
        _check_connection(address or "")
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{address_option}={address}: Ray's cluster cannot be reached ({error})") from error
    return ray


def _check_connection(address: str) -> None:
    """Raise `OSError` if nothing answers at `HOST:PORT`: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), CONNECTION_SECONDS).close()
