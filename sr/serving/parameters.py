"""Read what a request asks for: its query, the type of its body, and the types of images that it accepts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from starlette.datastructures import Headers, QueryParams

from sr.image.file_format import FileFormat
from sr.image.formats import find_format
from sr.runtime.error import suggest_nearest
from sr.serving.error import ServiceError

MIN_TILE, MAX_TILE = 32, 8192  # LR pixels; with smaller ones nearly all of the work would be margins
OCTETS = "application/octet-stream"
MEDIA_TYPES = {  # of formats by the names that the option `formats` has
    "png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff", "bmp": "image/bmp",
    "gif": "image/gif", "avif": "image/avif",
}  # fmt: skip
ALIASES = {"image/jpg": "jpeg", "image/x-ms-bmp": "bmp"}

Number = TypeVar("Number", int, float)


class Parameters(NamedTuple):
    """Hold what a client asks for."""

    format: FileFormat | None = None  # of the result; None: that of the image
    quality: int | None = None  # 1…100
    tile: int | None = None  # side, LR pixels
    outscale: float | None = None  # 1…scale


def read_parameters(query: QueryParams, headers: Headers, formats: Sequence[str], scale: int) -> Parameters:
    """Read query and headers. Raise `ServiceError` 406, 415 or 422."""
    _check_content(headers)
    values = _read_query(query)
    name = values.get("format")
    if name is None:
        name = choose_format(headers.get("accept", "*/*"), formats)
    elif name not in formats:
        raise ServiceError(422, f"format: expected one of {', '.join(formats)}.{suggest_nearest(name, formats)}")
    return Parameters(
        None if name is None else find_format(name),
        _read_number(values, "quality", int, 1, 100),
        _read_number(values, "tile", int, MIN_TILE, MAX_TILE),
        _read_number(values, "outscale", float, 1, scale),
    )


def choose_format(accept: str, formats: Sequence[str]) -> str | None:
    """Return the format that a header `Accept` prefers (RFC 9110, section 12.5.1); None: any, so that of the image.

    Raises `ServiceError` 406 if it accepts none of `formats`.
    """
    weights: dict[str, float] = {}
    for part in accept.split(","):
        media_type, *options = (word.strip().lower() for word in part.split(";"))
        quality = next((word[2:] for word in options if word.startswith("q=")), "1")
        try:
            weights[media_type] = float(quality)
        except ValueError:
            raise ServiceError(406, "Accept: expected a number from 0 to 1 as q") from None
    names = {media_type: name for name, media_type in MEDIA_TYPES.items()} | ALIASES
    accepted = {names[kind]: q for kind, q in weights.items() if q > 0 and names.get(kind) in formats}
    any_weight = weights.get("image/*", weights.get("*/*", 0))
    best = max(accepted, key=accepted.__getitem__, default=None)
    if any_weight > 0 and (best is None or accepted[best] <= any_weight):
        return None
    if best is None:
        raise ServiceError(406, f"Accept: expected */* or one of {', '.join(MEDIA_TYPES[name] for name in formats)}")
    return best


def get_media_type(file_format: FileFormat) -> str:
    """Return the media type of results of a format."""
    return MEDIA_TYPES.get(file_format.name.lower(), OCTETS)


def _check_content(headers: Headers) -> None:
    media_type = headers.get("content-type", OCTETS).partition(";")[0].strip().lower()
    if media_type != OCTETS and not media_type.startswith("image/"):
        raise ServiceError(415, "Content-Type: expected the bytes of an image, image/* or application/octet-stream")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ServiceError(415, "Content-Encoding: expected the bytes of an image as they are, not compressed again")


def _read_query(query: QueryParams) -> dict[str, str]:
    known = Parameters._fields
    for name, _ in query.multi_items():
        if name not in known:
            raise ServiceError(422, f"expected the parameters {', '.join(known)} (found another one)")
        if len(query.getlist(name)) > 1:
            raise ServiceError(422, f"{name}: expected one value (found several)")
    return dict(query)


def _read_number(values: Mapping[str, str], name: str, kind: type[Number], lowest: int, highest: int) -> Number | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        value = kind(text) if text.isascii() and text == text.strip() and "_" not in text else None
    except ValueError:
        value = None
    if value is None or not lowest <= value <= highest:
        noun = "a whole number" if kind is int else "a number"
        raise ServiceError(422, f"{name}: expected {noun} from {lowest} to {highest}")
    return value
