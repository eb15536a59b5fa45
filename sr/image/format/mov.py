"""MOV, QuickTime's container, of cameras and editing programs."""

from sr.image.format.video_file import VideoFormat


class MovFormat(VideoFormat):
    """MOV."""

    name, suffixes, muxer = "MOV", (".mov", ".qt"), "mov"


FORMAT = MovFormat()
