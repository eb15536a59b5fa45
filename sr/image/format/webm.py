"""WebM, the container of VP8, VP9 and AV1; its time stamps are whole milliseconds."""

from sr.image.format.video_file import VideoFormat


class WebMFormat(VideoFormat):
    """WebM."""

    name, suffixes, muxer = "WebM", (".webm",), "webm"


FORMAT = WebMFormat()
