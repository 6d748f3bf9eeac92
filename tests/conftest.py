import logging
from pathlib import Path

import hypothesis
import pytest

from camformer_tf.simulation import simulate

pytest_plugins = ["support.served", "support.untrained"]

hypothesis.settings.register_profile("no deadline", deadline=None)  # busy machines are slow
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def log_as_before():
    """Undoes what a command did to the package's logger, such as --quiet."""
    log = logging.getLogger("camformer_tf")
    level, handlers = log.level, list(log.handlers)
    yield
    log.setLevel(level)
    log.handlers = handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project's root; a test that needs it skips without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data is not here: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def library_text(tmp_path_factory) -> Path:
    """A simulated library of 3,000 promoters."""
    path = tmp_path_factory.mktemp("library") / "library.txt"
    simulate.simulate(path, 3_000)
    return path


@pytest.fixture(scope="session")
def library(library_text) -> Path:
    """Its records, 90 % train and 10 % val."""
    from camformer_tf.data import records

    folder = library_text.parent / "records"
    records.build_records(library_text, folder)
    return folder
