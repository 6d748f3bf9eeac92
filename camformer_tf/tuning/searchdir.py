"""A search's folder: the names of its files, how it begins, what it was begun with."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from camformer_tf import errors, files
from camformer_tf.data import manifest
from camformer_tf.tuning import options, space

BEST = "best.yaml"
TRIALS = "trials.csv"
SETTINGS = "search.json"  # marks the folder of a search
FOLDER = "trials"  # a run, a recipe and a log for each trial
PAGE = "search.html"
HPARAMS = "tensorboard"

_CHIEF_TIMEOUT = 300  # seconds that a worker waits for the chief


def settings(
    search_space: space.Space, records_dir: Path, search_options: options.SearchOptions
) -> dict[str, Any]:
    """Returns the contents of search.json: everything that the trials depend on."""
    recipe_bytes = Path(search_space.source).read_bytes()
    return {
        "recipe": hashlib.sha256(recipe_bytes).hexdigest(),
        "records": hashlib.sha256((records_dir / manifest.FILE).read_bytes()).hexdigest(),
        "algorithm": search_options.algorithm,
        "objective": search_options.objective,
        "tenfold": search_options.tenfold,
        "epochs": search_options.epochs,
        "fraction": search_options.fraction,
        "seed": search_options.seed,
        "fit": search_options.fit_arguments,
    }


def begin(out_dir: Path, values: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Makes the folder of a search, or checks that of the search to continue.

    Args:
        out_dir: the folder, locked by this process.
        values: the search's `settings`.
        resume: whether to continue the search in the folder, if there is one.
        overwrite: whether to replace the search in the folder.

    Raises:
        errors.UserError: the folder exists, or has another search.
    """
    if not resume:
        refuse_existing(out_dir, overwrite=overwrite)
        if out_dir.exists():
            _remove(out_dir)
    if (out_dir / SETTINGS).is_file():
        _check_same(out_dir, values)
        return
    out_dir.resolve().mkdir(exist_ok=True)  # a link may lead to a folder just removed
    (out_dir / FOLDER).mkdir(exist_ok=True)
    with files.new_file(out_dir / SETTINGS) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def refuse_existing(out_dir: Path, *, overwrite: bool) -> None:
    """Refuses a folder that exists, unless it is that of a search and may be replaced.

    Raises:
        errors.UserError: the folder may not be written, or a trial in it is still training.
    """
    if (out_dir / SETTINGS).is_file() and not overwrite:
        raise errors.UserError(
            f"{out_dir}: exists already. Continue the search with --resume, replace it with "
            "--overwrite, or choose another name."
        )
    files.refuse_existing(out_dir, overwrite=overwrite, marker=SETTINGS)
    for trial in (out_dir / FOLDER).glob("*"):
        if files.is_locked(trial):
            raise errors.UserError(f"{trial}: another process is training it. Wait for its end.")


def wait_for_chief(out_dir: Path, values: dict[str, Any], *, overwrite: bool) -> None:
    """Waits until the chief has begun the same search in this folder.

    Args:
        out_dir: the folder.
        values: the search's `settings`.
        overwrite: whether the chief will replace the search in the folder.

    Raises:
        errors.UserError: the chief has not begun in time, or has begun another search.
    """
    end = time.monotonic() + _CHIEF_TIMEOUT
    while not (out_dir / SETTINGS).is_file() or (overwrite and _differences(out_dir, values)):
        if time.monotonic() > end:
            raise errors.UserError(
                f"{out_dir}: no chief has begun this search in {_CHIEF_TIMEOUT} s. All processes "
                "must see the same folder, and one must have KERASTUNER_TUNER_ID=chief."
            )
        time.sleep(0.2)
    _check_same(out_dir, values)


def _check_same(out_dir: Path, values: dict[str, Any]) -> None:
    if differences := _differences(out_dir, values):
        raise errors.UserError(
            f"{out_dir}: this search was begun with another {', '.join(differences)}. Use the same "
            "values, or another folder."
        )


def _differences(out_dir: Path, values: dict[str, Any]) -> list[str]:
    """Returns the settings that the search in a folder was begun with differently."""
    try:
        current = json.loads((out_dir / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:  # the chief has just removed it
        current = {}
    return [key for key, value in values.items() if current.get(key) != value]


def _remove(out_dir: Path) -> None:
    """Removes a folder; its name is free at once."""
    path = out_dir.resolve()  # so that a link stays
    old_path = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    path.rename(old_path)
    shutil.rmtree(old_path)
