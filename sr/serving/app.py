"""The routes of the service, as an ASGI application."""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sr.serving.answer import FileAnswer
from sr.serving.engine import Engine, Order
from sr.serving.error import INTERNAL, RETRY_SECONDS, ServiceError, log_unexpected
from sr.serving.host_check import HostCheck, list_hosts
from sr.serving.metrics import MEDIA_TYPE, Metrics
from sr.serving.openapi import describe_interface
from sr.serving.page import build_security_policy, render_page
from sr.serving.parameters import read_parameters
from sr.serving.upload import receive_file

STARTING_SECONDS = 5  # of Retry-After while the network is loaded
DISCONNECTED = 499  # the status that is logged if the client has closed the connection: nobody receives it
PAGE_HEADERS = {"Cache-Control": "no-cache", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class Service:
    """Hold what the routes share: the engine, the counts, and whether images are accepted."""

    def __init__(self, config: Mapping[str, Any], engine: Engine, folder: Path) -> None:
        self.config, self.engine, self.folder = config, engine, folder
        self.info: dict[str, Any] | None = None  # None: the network is not loaded yet
        self.is_draining = False  # what is accepted is completed, and nothing else
        self.accepted = 0  # requests to upscale that are not answered yet
        self.metrics = Metrics()

    @property
    def is_ready(self) -> bool:
        """True if images are accepted."""
        return self.info is not None and not self.is_draining

    def require_ready(self) -> None:
        """Raise `ServiceError` 503 if no image is accepted."""
        if self.is_draining:
            raise ServiceError(503, "the service is ending", RETRY_SECONDS)
        if self.info is None:
            raise ServiceError(503, "the service is starting", STARTING_SECONDS)

    def build_app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/", self.show_page),
            Route("/upscale", self.upscale, methods=["POST"]),
            Route("/info", self.show_info),
            Route("/healthz", self.show_health),
            Route("/readyz", self.show_readiness),
            Route("/metrics", self.show_metrics),
            Route("/openapi.json", self.show_interface),
        ]
        handlers = {HTTPException: _answer_http_error, ServiceError: _answer_service_error}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        hosts = list_hosts(self.config["host"], self.config["hosts"])
        if hosts is not None:
            app.add_middleware(HostCheck, hosts=hosts)
        return app

    async def show_page(self, _: Request) -> Response:
        """Answer with the page, also before the network is loaded: the page waits for that."""
        headers = PAGE_HEADERS | {"Content-Security-Policy": build_security_policy()}
        return HTMLResponse(render_page(), headers=headers)

    async def show_info(self, _: Request) -> Response:
        """Answer with the network, the formats and the limits."""
        return JSONResponse(self._require_info())

    async def show_health(self, _: Request) -> Response:
        """Answer that the process works."""
        return JSONResponse({"status": "ok"})

    async def show_readiness(self, _: Request) -> Response:
        """Answer whether images are accepted."""
        self.require_ready()
        return JSONResponse({"status": "ready"})

    async def show_metrics(self, _: Request) -> Response:
        """Answer with the counts for Prometheus."""
        return PlainTextResponse(self.metrics.format_text(self.accepted, self.is_ready), media_type=MEDIA_TYPE)

    async def show_interface(self, _: Request) -> Response:
        """Answer with the description of the interface."""
        info = self._require_info()
        return JSONResponse(describe_interface(info["formats"], info["scale"]))

    async def upscale(self, request: Request) -> Response:
        """Answer with the upscaled image, or an error."""
        start, detail = time.monotonic(), ""
        try:
            answer = await self._upscale(request)
            status, detail = 200, answer.detail
        except ServiceError as error:
            status, answer = error.status, error.build_response()
        except ClientDisconnect:
            status, answer = DISCONNECTED, Response(status_code=HTTPStatus.BAD_REQUEST)
        except Exception as error:  # nothing else may reach the server, which would log its message
            log_unexpected(error)
            status, answer = 500, ServiceError(500, INTERNAL).build_response()
        self.metrics.count_answer(status)
        if self.config["log"]:
            now = time.strftime("%Y-%m-%dT%H:%M:%S")
            print(f"{now} POST /upscale {status}{detail} {time.monotonic() - start:.2f} s", file=sys.stderr, flush=True)
        return answer

    async def _upscale(self, request: Request) -> FileAnswer:
        self.require_ready()
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise ServiceError(403, "expected a request of this service's own page (found that of another site)")
        if self.accepted >= self.config["queue"]:
            raise ServiceError(429, "too many images are waiting; try again later", self.metrics.estimate_wait())
        info = self._require_info()
        parameters = read_parameters(request.query_params, request.headers, info["formats"], info["scale"])
        with contextlib.ExitStack() as stack:
            self.accepted += 1
            stack.callback(self._release)
            try:
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True))
                )
            except OSError:
                raise ServiceError(503, "there is no room for this image now; try again later", RETRY_SECONDS) from None
            order = Order(folder / "image", folder / "result", parameters)
            await receive_file(request, order.source, self.config["max_bytes"], self.config["upload_timeout"])
            answer = FileAnswer(await self._wait(request, order), self.metrics)
            answer.resources = stack.pop_all()
            return answer

    async def _wait(self, request: Request, order: Order) -> Any:
        """Return the engine's answer to an order; give it up if the client closes the connection, or after the time limit."""
        order.accepted = time.monotonic()
        self.engine.submit(order)
        answer = asyncio.wrap_future(order.answer)
        answer.add_done_callback(asyncio.Future.exception)  # it may come when nobody waits any more
        disconnected = asyncio.ensure_future(request.receive())  # after the body only the end of the connection comes
        try:
            await asyncio.wait(
                {answer, disconnected}, timeout=self.config["timeout"], return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result()
            if disconnected.done():
                raise ClientDisconnect
            raise ServiceError(504, f"the image was not upscaled within {self.config['timeout']:g} s")
        finally:
            order.is_unwanted = True
            disconnected.cancel()

    def _release(self) -> None:
        self.accepted -= 1

    def _require_info(self) -> dict[str, Any]:
        if self.info is None:
            self.require_ready()
        return self.info


async def _answer_service_error(_: Request, error: Exception) -> Response:
    return error.build_response()


async def _answer_http_error(_: Request, error: Exception) -> Response:
    sentences = {404: "there is no such address; see /openapi.json", 405: "expected another method; see /openapi.json"}
    sentence = sentences.get(error.status_code, HTTPStatus(error.status_code).phrase)
    return JSONResponse({"error": sentence}, error.status_code, error.headers)
