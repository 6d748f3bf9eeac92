"""An export's folder: the names of its files, its versions, and the newest."""

from __future__ import annotations

from pathlib import Path

SAVED_MODEL = "saved_model.pb"
MODEL_CARD = "assets.extra/model_card.json"
GOLDEN = "assets.extra/golden.json"
WARM_UP = "assets.extra/tf_serving_warmup_requests"  # TensorFlow Serving's name


def versions(export_dir: Path) -> dict[int, Path]:
    """Returns the versions of an export: number → folder, in ascending order.

    The name of a version's folder is a number in ASCII digits without leading zeros, as `export`
    and TensorFlow Serving write and read it; so `01` and `²` are not versions.

    Raises:
        OSError: the folder cannot be listed.
    """
    folders = (path for path in export_dir.iterdir() if _is_number(path.name) and path.is_dir())
    return dict(sorted((int(path.name), path) for path in folders))


def newest(path: Path) -> Path | None:
    """Returns the folder of the newest version of an export.

    Args:
        path: an export directory, or the folder of one version, which is returned as it is.

    Returns:
        None if `path` is neither.
    """
    if (path / SAVED_MODEL).is_file() or (path / MODEL_CARD).is_file():
        return path
    return max(versions(path).items(), default=(0, None))[1] if path.is_dir() else None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name
