"""Receive the body of a request into a file, within limits of bytes and seconds."""

import asyncio
from pathlib import Path

from starlette.requests import Request

from sr.serving.error import RETRY_SECONDS, ServiceError


async def receive_file(request: Request, path: Path, max_bytes: int, seconds: float) -> int:
    """Write the body to `path` and return its bytes.

    Raises:
        ServiceError: it is empty (400), takes too long (408), is too large (413), or there is no room for it (503). A size
            that is stated is refused before anything is read, any other one as soon as it is exceeded.
        starlette.requests.ClientDisconnect: the client has closed the connection.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise refuse_bytes(max_bytes)
    try:
        async with asyncio.timeout(seconds):
            count = await _write_body(request, path, max_bytes)
    except TimeoutError:
        raise ServiceError(408, f"the image was not received within {seconds:g} s") from None
    except OSError:
        raise ServiceError(503, "there is no room for this image now; try again later", RETRY_SECONDS) from None
    if not count:
        raise ServiceError(400, "expected the bytes of an image as the body (found none)")
    return count


def refuse_bytes(max_bytes: int) -> ServiceError:
    """Return the error for an image file that is too large."""
    return ServiceError(413, f"expected at most {max_bytes} bytes (found more)")


async def _write_body(request: Request, path: Path, max_bytes: int) -> int:
    count = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            count += len(chunk)
            if count > max_bytes:
                raise refuse_bytes(max_bytes)
            file.write(chunk)
    return count
