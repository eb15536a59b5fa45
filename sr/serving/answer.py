"""The answer to a request to upscale: the file of the result, sent in parts."""

import contextlib

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sr.serving.engine import Answer
from sr.serving.metrics import Metrics
from sr.serving.parameters import get_media_type

CHUNK_BYTES = 1 << 16


class FileAnswer(Response):
    """Sends a result; `resources`, its folder and its place in the queue, are released afterwards."""

    resources = contextlib.ExitStack()

    def __init__(self, answer: Answer, metrics: Metrics) -> None:
        job, result = answer.job, answer.result
        self._path = job.target
        (height, width), source = result.size, job.header
        metrics.count_image(height * width * result.frames, answer.waited + result.seconds)
        self.detail = f" {source.format} {source.width}×{source.height} -> {job.format.name} {width}×{height}"
        times = {"queue": answer.waited, "upscale": result.seconds}
        headers = {
            "Content-Length": str(self._path.stat().st_size),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Server-Timing": ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in times.items()),
        }
        if result.lost:
            headers["X-Not-In-Result"] = format_header("; ".join(result.lost))
        super().__init__(None, 200, headers, get_media_type(job.format))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; end early if the client closes the connection."""
        with self.resources, self._path.open("rb") as file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while chunk := file.read(CHUNK_BYTES):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def format_header(text: str) -> str:
    """Return a text as the value of a header: ASCII without control characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
