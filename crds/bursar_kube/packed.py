"""Objects held small: as compressed JSON that is read when somebody asks. A dict of one takes ten times as much."""

import zlib
from typing import Any, Final

import orjson

_LEVEL: Final = 1
_WINDOW_BITS: Final = -12  # no header; a window of 4 KiB and little memory for each run make it fast
_MEMORY: Final = 5
_SAMPLE_MAXIMUM: Final = 3_500  # what of the sample the window can still see


class Packing:
    """Packs objects of one kind: the first one is the sample that all are compressed against, for they look alike."""

    def __init__(self) -> None:
        self._packer: Any = None
        self._unpacker: Any = None

    def pack(self, obj: object) -> bytes:
        """The object as bytes that only this packing reads."""
        return self.pack_text(orjson.dumps(obj))

    def pack_text(self, text: str | bytes) -> bytes:
        """The same of what is JSON already."""
        text = text.encode() if isinstance(text, str) else text
        if self._packer is None:
            self._take_as_sample(text)
        packer = self._packer.copy()
        packed: bytes = packer.compress(text) + packer.flush()
        return packed

    def unpack(self, packed: bytes) -> Any:
        """A fresh object."""
        return orjson.loads(self.unpack_text(packed))

    def unpack_text(self, packed: bytes) -> bytes:
        """Its JSON."""
        text: bytes = self._unpacker.copy().decompress(packed)
        return text

    def _take_as_sample(self, text: bytes) -> None:
        sample = text[-_SAMPLE_MAXIMUM:]
        self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY, zdict=sample)
        self._unpacker = zlib.decompressobj(_WINDOW_BITS, zdict=sample)
