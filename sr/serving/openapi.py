"""The description of the interface, GET /openapi.json (OpenAPI 3.1)."""

import sys
from collections.abc import Mapping
from typing import Any

from sr.serving.parameters import MAX_TILE, MEDIA_TYPES, MIN_TILE

ERRORS = {
    "400": "There is no body, or the request is no HTTP.",
    "403": "Another site's page has sent the image.",
    "406": "No format that is accepted is written.",
    "408": "The upload takes too long.",
    "413": "The image has too many bytes, pixels or frames, or needs too much memory.",
    "415": "The body is no image, or none of a format that is accepted.",
    "421": "The request names another host.",
    "422": "A parameter is wrong, or the image is damaged.",
    "429": "The queue is full.",
    "500": "An error of the service.",
    "503": "The service is starting or ending, or there is no room.",
    "504": "The image takes too long.",
}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "minLength": 1, "description": "One sentence."}},
}


def describe_interface(formats: list[str], scale: int) -> dict[str, Any]:
    """Return the document for a service with these formats and a network of this scale."""
    images = {MEDIA_TYPES[name]: _binary() for name in formats}
    parameters = [
        _parameter("format", {"type": "string", "enum": formats}, "Of the result; default: by Accept, else the image's."),
        _parameter("quality", _integer(1, 100), "Of lossy formats; others have none."),
        _parameter("tile", _integer(MIN_TILE, MAX_TILE), "Side of a tile in pixels of the image; default: by memory."),
        _parameter("outscale", {"type": "number", "minimum": 1, "maximum": scale},
                   f"How many times larger than the image: the network's result, reduced; default: {scale}."),
    ]  # fmt: skip
    upscaled = {
        "description": "The upscaled image.",
        "content": images,
        "headers": {
            "Server-Timing": {"schema": {"type": "string"}, "description": "queue and upscale, milliseconds."},
            "X-Not-In-Result": {
                "schema": {"type": "string"},
                "description": "What the image has and the result has not.",
            },
        },
    }
    post = {
        "summary": "Upscale an image.",
        "description": "The body is an image file. Any other file is refused (415), as is one that is damaged (422).",
        "operationId": "upscale",
        "parameters": parameters,
        "requestBody": {"required": True, "content": {**images, "application/octet-stream": _binary()}},
        "responses": {"200": upscaled, **{status: _error(text) for status, text in ERRORS.items()}},
    }
    state = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
    unready = {"503": _error(ERRORS["503"])}
    return {
        "openapi": "3.1.0",
        "info": {"title": "sr", "version": sys.modules["sr"].__version__, "description": "Image super-resolution."},
        "paths": {
            "/upscale": {"post": post},
            "/info": {"get": _get("info", "The network, formats and limits.", _json({"type": "object"}), unready)},
            "/healthz": {"get": _get("health", "The process works.", _json(state))},
            "/readyz": {"get": _get("readiness", "Images are accepted.", _json(state), unready)},
            "/metrics": {"get": _get("metrics", "Counts for Prometheus.", {"text/plain": {"schema": {"type": "string"}}})},
            "/": {"get": _get("page", "The page.", {"text/html": {"schema": {"type": "string"}}})},
            "/openapi.json": {"get": _get("description", "This document.", _json({"type": "object"}), unready)},
        },
    }  # fmt: skip


def _get(
    name: str, summary: str, content: Mapping[str, Any], others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    answer = {"description": summary, "content": content}
    return {"summary": summary, "operationId": name, "responses": {"200": answer, **(others or {})}}


def _parameter(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _integer(lowest: int, highest: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": _json(ERROR_SCHEMA)}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _binary() -> dict[str, Any]:
    """Return the schema of a file; that it has to be an image no JSON schema can say, so the answers 415 and 422 do."""
    return {"schema": {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1}}
