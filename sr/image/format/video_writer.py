"""Write a video: frames are encoded as they come, and joined at the end with the other streams of the source."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sr.image.file_format import Frame, Header, ImageWriter, WriteOptions
from sr.image.format.video_encoder import SEGMENT, choose_encoding
from sr.image.format.video_layout import write_frame
from sr.image.format.video_mux import join_streams
from sr.image.format.video_packets import PacketFile
from sr.image.format.video_scan import VideoScan
from sr.runtime import malloc
from sr.runtime.error import UserError

if TYPE_CHECKING:
    from sr.image.format.video_file import VideoFormat

ENCODER_BYTES = 60  # of a pixel of the result: x264 with three threads, measured


class VideoWriter(ImageWriter):
    """A video with the time stamps of its source.

    Encoded frames are collected in `options.unfinished`, in segments of 60 frames; what an earlier process has left there
    is `frames_done`.
    """

    is_streaming = True

    def __init__(
        self,
        library: Any,
        path: Path,
        container: "VideoFormat",
        header: Header,
        source: VideoScan,
        options: WriteOptions,
    ) -> None:
        self.library, self.path, self.container, self.header, self.source = library, path, container, header, source
        size = (header.height, header.width)
        self.encoding = choose_encoding(
            library, source, list_codecs(library, container.muxer), container.name.lower(), size,
            header.channels == 1, options.codec, options.crf,
        )  # fmt: skip
        self._encoder: Any = self._open_encoder()
        extradata = self._encoder.extradata or b""
        head = repr((self.encoding, source.times.tobytes(), library.library_versions)).encode() + extradata
        unfinished = options.unfinished or path.with_name(f"{path.name}.unfinished")
        for old in unfinished.parent.glob(
            f"{unfinished.name.partition('-')[0]}-*"
        ):  # of other options or another source
            if options.unfinished and not old.name.startswith(unfinished.name):
                old.unlink(missing_ok=True)
        self._packets = PacketFile(unfinished, head)
        self.frames_done = self._frame = self._packets.frames
        self.held_bytes = ENCODER_BYTES * header.height * header.width
        self._layers: Tensor | None = None  # of the frame whose rows come: `[channels + alpha, H, W]`
        self._row = 0
        self.notes = self.encoding.notes

    def write(self, frame: Frame) -> None:
        """Append rows `[channels, rows, W]` to the current frame, and encode it with its last row."""
        layers = frame.pixels if frame.alpha is None else torch.cat([frame.pixels, frame.alpha])
        if self._row == 0 and layers.shape[1] == self.header.height:
            self._encode(layers)
            return
        if self._layers is None:
            self._layers = layers.new_empty(layers.shape[0], self.header.height, self.header.width)
        self._layers[:, self._row : self._row + layers.shape[1]] = layers
        self._row += layers.shape[1]
        if self._row == self.header.height:
            self._row = 0
            self._encode(self._layers)

    def close(self) -> None:
        """Complete the file: join the encoded frames and what is copied of the source."""
        if self._packets.frames != self.source.frames:
            raise UserError(f"{self.source.path}: {self._packets.frames} of {self.source.frames} frames were encoded")
        try:
            self.notes += join_streams(
                self.library, self.path, self.container.muxer, self.source, self.encoding, self._packets
            )
        except self.library.error.FFmpegError as error:
            raise OSError(error.errno, f"{error.strerror}, while its streams were joined") from None
        self._packets.remove()

    def discard(self) -> None:
        """Remove what is encoded, for the source cannot be completed."""
        self._packets.remove()

    def suspend(self) -> None:
        """Leave what is encoded for the next start."""
        self._packets.close()

    def _open_encoder(self) -> Any:
        try:
            return self.encoding.open(self.library)
        except (self.library.error.FFmpegError, ValueError) as error:
            size = f"{self.header.width}×{self.header.height}"
            raise UserError(
                f"{self.source.path}: {self.encoding.codec.encoder} cannot encode {size} {self.encoding.layout.name} "
                f"({error}); choose another codec="
            ) from None

    def _encode(self, layers: Tensor) -> None:
        if self._frame >= self.source.frames:  # of a video of one frame that was encoded before
            return
        if self._encoder is None:
            self._encoder = self._open_encoder()
        channels, header = self.header.channels, self.header
        alpha = layers[channels:] if header.has_alpha else None
        frame = write_frame(
            self.library, layers[:channels], alpha, header.white, self.encoding.layout, self.encoding.coding,
            self.encoding.stored,
        )  # fmt: skip
        frame.pts, frame.time_base = self._frame, self._encoder.time_base
        self._store(self._encoder.encode(frame))
        self._frame += 1
        if self._frame % SEGMENT == 0 or self._frame == self.source.frames:
            self._store(self._encoder.encode(None))
            self._encoder = None
            self._packets.end_segment(self._frame)
            malloc.return_freed_memory()  # the next encoder does not fit into the holes: a tenth of the memory

    def _store(self, packets: list[Any]) -> None:
        for packet in packets:
            number = round(packet.pts * packet.time_base * self.encoding.rate)
            self._packets.append(number, packet.is_keyframe, bytes(packet))


def list_codecs(library: Any, muxer: str) -> set[str]:
    """Return the names of the codecs that a container of FFmpeg holds."""
    import io

    with library.open(io.BytesIO(), "w", format=muxer) as container:
        return set(container.supported_codecs)
