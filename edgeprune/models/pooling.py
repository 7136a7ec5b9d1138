"""Read how a sentence-transformers folder pools token states: from modules.json and 1_Pooling/config.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.base.errors import ModelError

__all__ = ["Pooling", "read_pooling"]

_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class Pooling:
    """Say how token states become one vector: mean without padding or first state, scaled to length one or not."""

    mode: Literal["mean", "cls"]
    normalize: bool


def read_pooling(folder: Path) -> Pooling | None:
    """Read the folder's pooling; None if the folder holds a bare encoder.

    Raises:
        ModelError: A file can't be read, or names a pooling or a module that isn't handled.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "1_Pooling/config.json").read_text(encoding="utf-8"))
        kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
        asked = config.get("pooling_mode")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder}: modules.json or 1_Pooling/config.json can't be read: {error}") from error
    if asked is None:  # written before sentence-transformers 6: a flag a mode
        asked = [_FLAGS.get(name, name) for name, on in config.items() if name.startswith("pooling_mode_") and on]
    modes = [asked] if isinstance(asked, str) else list(asked)
    unknown = [mode for mode in modes if mode not in _FLAGS.values()] + [kind for kind in kinds if kind not in _MODULES]
    if len(modes) != 1 or unknown:
        raise ModelError(
            f"{folder}: sentence embeddings by {' + '.join(unknown or modes) or 'no pooling'} are not handled; mean and cls "
            f"pooling are, normalised or not"
        )
    return Pooling("cls" if modes == ["cls"] else "mean", "Normalize" in kinds)
