"""Run the service: listen, load the network, answer requests, and end with those that were accepted."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from sr.image.formats import find_format
from sr.prediction.memory_size import read_memory_size
from sr.runtime import malloc
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.terminal import print_note
from sr.serving.app import Service
from sr.serving.engine import Engine, warm_up
from sr.serving.error import log_unexpected
from sr.serving.loading import describe_service, load_model
from sr.serving.parameters import MEDIA_TYPES
from sr.serving.protocol import STALL_SECONDS, LimitedProtocol

BACKLOG = 128  # connections that wait to be accepted
IDLE_SECONDS = 30  # after which an idle connection is closed
GRACE_SECONDS = 0.3  # in which connections that were made before the end are answered
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_server(config: Mapping[str, Any]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; `config` has the options of `ServeOptions`.

    Raises `UserError` if the network cannot be loaded, or the port is in use.
    """
    warnings.simplefilter("ignore")  # of decoders: they name files
    with prepare_server(config) as (server, listener):
        _report_address(listener, config["host"])
        server.run(sockets=[listener])
    if server.error is not None:
        raise server.error
    if server.force_exit:
        raise KeyboardInterrupt
    print("the service has ended", file=sys.stderr)


@contextlib.contextmanager
def prepare_server(config: Mapping[str, Any]) -> Iterator[tuple["DrainingServer", socket.socket]]:
    """Give the block a server that is to be run, and the socket that it listens on; the network is being loaded."""
    config = {
        **config,
        "max_bytes": read_memory_size(config["max_bytes"], "max_bytes"),
        "memory": read_memory_size(config["memory"]),
        "formats": _check_formats(config["formats"]),
    }
    logging.getLogger("uvicorn.error").disabled = True  # it logs tracebacks; `Service` logs what may be logged
    malloc.retain_freed_memory()
    with (
        _listen(config["host"], config["port"]) as listener,
        tempfile.TemporaryDirectory(prefix="sr-serve-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(Engine(config)) as engine,
    ):
        server = DrainingServer(Service(config, engine, Path(folder)))
        threading.Thread(target=server.load, name="sr-load", daemon=True).start()
        yield server, listener


class DrainingServer(uvicorn.Server):
    """A server that, after a first signal, completes what it has accepted; a second one ends it at once."""

    def __init__(self, service: Service) -> None:
        super().__init__(_configure(service))
        self.service = service
        self.error: BaseException | None = None  # that has ended it

    def load(self) -> None:
        """Load the network, and begin to accept images; end the server if that is not possible. For a thread."""
        service = self.service
        try:
            model = load_model(service.config)
            warm_up(model.net, model.channels, model.device)
            service.engine.start(model)
            service.info = describe_service(service.config, model)
            print(f"ready: {service.info['name']}, ×{model.scale}, on {model.device}", file=sys.stderr, flush=True)
        except BaseException as error:
            self.error = error
            self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle both signals while the server runs; the process goes on afterwards, and ends with exit code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to end: nothing new is accepted. After a second signal nothing is waited for."""
        if self.service.is_draining:
            self.should_exit = self.force_exit = True
        self.service.is_draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().set_exception_handler(_log_loop_error)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Return True if the server is to stop listening: it is called ten times a second."""
        await super().on_tick(counter)
        if self.force_exit:
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        if self.service.is_draining and not self.service.accepted and not self.should_exit:
            await asyncio.sleep(GRACE_SECONDS)
            self.should_exit = not self.service.accepted
        return self.should_exit


def _configure(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        service.build_app(), http=LimitedProtocol, ws="none", lifespan="off", loop="asyncio", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, timeout_keep_alive=IDLE_SECONDS, backlog=BACKLOG,
        timeout_graceful_shutdown=STALL_SECONDS,
    )  # fmt: skip


def _log_loop_error(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    error = context.get("exception")
    if error is not None:
        log_unexpected(error)


def _check_formats(formats: list[str]) -> list[str]:
    for name in formats:
        if name not in MEDIA_TYPES:
            nearest = suggest_nearest(name, MEDIA_TYPES)
            raise UserError(
                f"formats=[{','.join(formats)}]: expected {', '.join(MEDIA_TYPES)} (found {name}).{nearest}"
            )
        find_format(name)
    if not formats:
        raise UserError(f"formats=[]: expected at least one of {', '.join(MEDIA_TYPES)}")
    return list(dict.fromkeys(formats))


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raise `UserError` if that is not possible."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        option = f"host={host}" if isinstance(error, socket.gaierror) else f"host={host} port={port}"
        raise UserError(f"{option}: cannot listen there ({reason}); choose another port, such as port=0") from None


def _report_address(listener: socket.socket, host: str) -> None:
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    print(f"http://{shown}:{port}", flush=True)
    if not ipaddress.ip_address(address).is_loopback:
        print_note(f"host={host}: everybody who reaches this address may use the service, without a password")
