"""MKV, Matroska, a container of any codec; its time stamps are whole milliseconds."""

from sr.image.format.video_file import VideoFormat


class MkvFormat(VideoFormat):
    """MKV."""

    name, suffixes, muxer = "MKV", (".mkv",), "matroska"


FORMAT = MkvFormat()
