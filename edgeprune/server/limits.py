"""Say how much a server takes at once."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Hold what a server refuses to go beyond."""

    body_bytes: int = 4 << 20
    """Most bytes of a request's body."""
    texts: int = 256
    """Most inputs of a request."""
    characters: int = 100_000
    """Most characters of one text. The tokenizer reads all of them, and the model's own length is cut from that."""
    pixels: int = 50_000_000
    """Most pixels of one image. A small file can be a large image, and three bytes a pixel are kept while it is resized."""
    requests: int = 128
    """Most requests in the server: being received, waiting and being answered. Each keeps its body until it is whole,
    and its inputs from then on."""
