"""A training in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO


def run(
    arguments: Sequence[str],
    *,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
) -> int:
    """Runs `camformer-tf` with arguments to its end; a signal to end is passed on to it.

    Args:
        arguments: of the command line.
        stdout: as of subprocess.Popen.
        stderr: as of subprocess.Popen.

    Returns:
        The exit code: after a signal that killed the process, 128 and the signal's number.
    """
    command = [sys.executable, "-m", "camformer_tf.cli", *arguments]
    process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
    handler = None
    if threading.current_thread() is threading.main_thread():  # others cannot set handlers
        handler = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
    try:
        code = process.wait()
    except KeyboardInterrupt:  # terminals and notebooks interrupt the whole process group
        code = process.wait()
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
    return code if code >= 0 else 128 - code
