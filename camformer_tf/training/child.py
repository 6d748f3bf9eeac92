"""A training in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence


def run(arguments: Sequence[str], **options) -> int:
    """Runs `camformer-tf` with arguments to its end, and returns its exit code, of a signal that
    killed it 128 and the signal's number. A signal to end that comes here goes to it.

    Args:
        options: of subprocess.Popen.
    """
    process = subprocess.Popen([sys.executable, "-m", "camformer_tf.cli", *arguments], **options)
    before = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    try:
        code = process.wait()
    except KeyboardInterrupt:  # the terminal tells the other process too
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return code if code >= 0 else 128 - code
