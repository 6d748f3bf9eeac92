"""The page in a browser, from the embedded server."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from support import page_steps as steps

from camformer_tf import exportdir, rundir
from camformer_tf.data import predictions
from camformer_tf.export import export


@pytest.fixture(scope="session")
def chromium():
    """The program; without it, tests of the page are skipped."""
    pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no chromium: apt-get install chromium")
    return program


@pytest.fixture(scope="session")
def ensemble(replicates, tmp_path_factory):
    """The export of a calibrated ensemble whose validation sequences have a library's flanks."""
    run = shutil.copytree(replicates, tmp_path_factory.mktemp("page") / "run")
    table = run / rundir.replicate(1) / rundir.VAL_PREDICTIONS
    measured_values = np.random.default_rng(3).normal(5, 0.5, 300)
    with predictions.writer(table) as write:
        promoters = steps.promoters(len(measured_values), seed=9)
        texts = [str(y) for y in measured_values]
        write(predictions.PredictedRows(promoters, measured_values.astype(np.float32), texts))
    return export.export([run], run.parent / "exports")


@pytest.fixture(scope="session")
def card(ensemble):
    return json.loads((ensemble / exportdir.MODEL_CARD).read_text())


@pytest.fixture(scope="session")
def outputs(ensemble):
    """Returns the export's outputs within this process: list of strings → name → array (N,)."""
    signature = tf.saved_model.load(str(ensemble)).signatures["serving_default"]
    return lambda sequences: {
        name: value.numpy() for name, value in signature(sequence=tf.constant(sequences)).items()
    }


@pytest.fixture(scope="session")
def expected(outputs):
    return lambda sequences: outputs(sequences)["expression"]


@pytest.fixture(scope="session")
def address(chromium, ensemble):
    """The address where the command serves the export."""
    command = [sys.executable, "-m", "camformer_tf", "serve", str(ensemble.parent), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if match := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("".join(lines))
    threading.Thread(target=process.stdout.read, daemon=True).start()  # or the pipe would fill
    yield match[0]
    process.terminate()
    assert process.wait(30) is not None


@pytest.fixture(scope="module")  # no longer: its event loop would be in the way of other tests
def browser(chromium):
    from playwright import sync_api

    sync_api.expect.set_options(timeout=steps.MINUTE)  # machines may be busy
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page; at the end, no other origin was asked and the console is empty."""
    with contextlib.ExitStack() as stack:

        def visit(query="", quiet=True, origins=(), **options):
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            stack.callback(context.close)
            context.set_default_timeout(steps.MINUTE)
            page, urls, messages = context.new_page(), [], []
            page.on("request", lambda request: urls.append(request.url))
            page.on("console", lambda message: messages.append(message.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.on("dialog", lambda dialog: messages.append("dialog") or dialog.dismiss())
            stack.callback(check, urls, messages, quiet, (address, *origins))
            page.goto(f"{address}/{query}")
            return page

        yield visit


def check(urls, messages, quiet, origins):
    assert all(url.startswith((*origins, "blob:")) for url in urls), urls
    assert not messages or not quiet, messages
