"""MP4 (ISO/IEC 14496-14), the container of most phones and cameras."""

from sr.image.format.video_file import VideoFormat


class Mp4Format(VideoFormat):
    """MP4."""

    name, suffixes, muxer = "MP4", (".mp4", ".m4v"), "mp4"


FORMAT = Mp4Format()
