"""The page in a browser, from the embedded server and from elsewhere."""

import contextlib
import csv
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import exportdir, rundir
from camformer_tf.data import predictions, sequence
from camformer_tf.export import export
from camformer_tf.simulation import grammar

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

COMMAND = [sys.executable, "-m", "camformer_tf.cli", "serve"]
LEFT, RIGHT = grammar.PREFIX.decode(), grammar.SUFFIX.decode()
RULE = {"length": 110, "length_margin": 3, "max_n": 3}
MINUTE = 60_000


@pytest.fixture(scope="module")
def exported(replicates, tmp_path_factory):
    """A calibrated ensemble whose validation sequences have a library's flanks."""
    run = shutil.copytree(replicates, tmp_path_factory.mktemp("page") / "run")
    table = run / rundir.replicate(1) / rundir.VAL_PREDICTIONS
    measured = np.random.default_rng(3).normal(5, 0.5, 300)
    with predictions.writer(table) as write:
        given = promoters(len(measured), seed=9)
        write(
            predictions.PredictedRows(
                given, measured.astype(np.float32), [str(y) for y in measured]
            )
        )
    return export.export([run], run.parent / "exports")


@pytest.fixture(scope="module")
def card(exported):
    return json.loads((exported / exportdir.MODEL_CARD).read_text())


@pytest.fixture(scope="module")
def answers(exported):
    """What the export answers within this process: list of strings → its outputs, each (N,)."""
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    return lambda sequences: {
        name: value.numpy() for name, value in signature(sequence=tf.constant(sequences)).items()
    }


@pytest.fixture(scope="module")
def expected(answers):
    return lambda sequences: answers(sequences)["expression"]


@pytest.fixture(scope="module")
def address(exported, browser):
    """Where the command serves the export; the browser is asked for first, since without one there
    is nothing to serve for."""
    command = [*COMMAND, str(exported.parent), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("".join(said))
    threading.Thread(target=process.stdout.read, daemon=True).start()  # or the pipe would fill
    yield found[0]
    process.terminate()
    assert process.wait(30) is not None


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no chromium: apt-get install chromium")
    playwright.expect.set_options(timeout=MINUTE)  # machines may be busy
    with playwright.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page; in the end nothing was asked of another origin, and the console is empty."""
    with contextlib.ExitStack() as stack:

        def go(query="", quiet=True, allowed=(), **options):
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            stack.callback(context.close)
            context.set_default_timeout(MINUTE)
            page, asked, said = context.new_page(), [], []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: said.append("dialog") or dialog.dismiss())
            stack.callback(check, asked, said, quiet, (address, *allowed))
            page.goto(f"{address}/{query}")
            return page

        yield go


def check(asked, said, quiet, origins):
    assert all(url.startswith((*origins, "blob:")) for url in asked), asked
    assert not said or not quiet, said


def cores(n, seed=0) -> list[str]:
    letters = np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", np.uint8), (n, 80))
    return sequence.text(letters)


def promoters(n, seed=0) -> list[str]:
    return [LEFT + core + RIGHT for core in cores(n, seed)]


def shown(page, selector):
    """Returns what an element says, once it is shown."""
    return playwright.expect(page.locator(selector))


def ask(page, text, words="predicted"):
    page.fill("#text", text)
    page.click("#predict")
    shown(page, "#said").to_contain_text(re.compile(words + r"[.;]"))


def body(page) -> list[list[str]]:
    rows = page.locator("#table tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def saved(page, button) -> bytes:
    with page.expect_download() as download:
        page.click(button)
    return download.value.path().read_bytes()


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def floats(rows, column) -> np.ndarray:
    return np.array([float(row[column]) for row in rows])


def at(place, letter) -> str:
    return f"#grid td[data-place='{place}'][data-row='{'ACGT'.index(letter)}']"


def mutated(string, place, letter) -> str:
    return string[:place] + letter + string[place + 1 :]


def other(letter) -> str:
    return "A" if letter != "A" else "G"


def test_paste_predict_sort_choose_mutate_undo_download(visit, expected):
    page, given = visit(), promoters(5)
    ask(page, "".join(f"p{i}\t{s}\n" for i, s in enumerate(given)))
    shown(page, "#model").to_contain_text("Model camformer, version 1")
    right = expected(given)
    assert [row[0] for row in body(page)] == [f"p{i}" for i in range(5)]
    np.testing.assert_allclose(
        [float(row[2].replace("−", "-")) for row in body(page)], right, atol=0.0051
    )

    page.get_by_role("button", name="Prediction", exact=True).click()
    shown(page, "#table thead th:nth-child(3)").to_have_attribute("aria-sort", "descending")
    order = np.argsort(-right, kind="stable")
    assert [row[0] for row in body(page)] == [f"p{i}" for i in order]
    table = rows_of(saved(page, "#csv"))
    assert [row["sequence"] for row in table] == [given[i] for i in order]
    assert {(row["model"], row["version"]) for row in table} == {("camformer", "1")}
    np.testing.assert_allclose(floats(table, "prediction"), right[order], atol=1e-5)

    page.get_by_role("button", name="p3", exact=True).click()
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    changes = rows_of(saved(page, "#map-csv"))
    assert len(changes) == 330
    for row in changes:
        place = int(row["position"]) - 1
        assert given[3][place] == row["from"]
        assert row["sequence"] == mutated(given[3], place, row["to"])
    single = expected([row["sequence"] for row in changes])
    np.testing.assert_allclose(floats(changes, "prediction"), single, atol=1e-5)
    np.testing.assert_allclose(floats(changes, "change"), single - right[3], atol=2e-5)
    assert saved(page, "#map-png").startswith(b"\x89PNG")

    letter = other(given[3][40])
    changed = mutated(given[3], 40, letter)
    page.click(at(40, letter))
    written = f"{given[3][40]}41{letter}"
    shown(page, "#effect").to_contain_text(f"With {written}: prediction")
    shown(page, "#history li").to_have_count(1)
    after = rows_of(saved(page, "#map-csv"))
    there = [row for row in after if row["position"] == "41" and row["to"] == given[3][40]]
    assert there[0]["sequence"] == given[3]
    np.testing.assert_allclose(
        floats(there, "change"), right[3] - expected([changed])[0], atol=2e-5
    )
    page.click("#undo")
    shown(page, "#effect").to_contain_text("As it is")
    assert rows_of(saved(page, "#map-csv")) == changes


def test_what_cannot_be_read_is_said_beside_its_line_and_the_rest_predicted(visit, expected):
    page, (a, b) = visit(), promoters(2)
    lines = [
        a, a[:20] + "x" + a[21:], "ACGT", "n\t" + "NNNN" + a[4:], f"{a}\t11.5", f"a\tb\t{a}",
        b.lower().replace("t", "u"), ">bad", a[:60], "A-" + a[60:], ">none", ">é <b>", b[:107],
    ]  # fmt: skip
    page.fill("#text", "\r\n".join(lines))
    shown(page, "#count").to_contain_text("10 sequences, 7 cannot be read")
    problems = page.locator("#problems li").all_inner_texts()
    assert problems[0] == "Line 2: letter x at position 21 is none of A C G T N"
    assert problems[1] == (
        "Line 3: length 4; the model reads 107 to 113 letters, or a core of 80 that flanks are "
        "added to"
    )
    assert problems[2] == "Line 4 (n): 4 letters N, more than 3"
    assert "the second column is a number" in problems[3] and problems[3].startswith("Line 5")
    assert problems[4].startswith("Line 6 (a): 3 columns") and "2 more" in problems[5]
    page.click("#problems button >> nth=1")  # goes to the line
    assert page.evaluate("getSelection().toString()") == "ACGT"
    page.evaluate("document.getElementById('text').scrollTop = 0")
    shown(page, "#gutter .bad >> nth=0").to_have_text("2")

    page.click("#predict")
    shown(page, "#said").to_have_text("3 sequences predicted; 7 cannot be read.")
    rows = body(page)
    assert rows[7][2] == "Line 10: letter - at position 62 is none of A C G T N"
    assert rows[8][2] == "Line 11: no sequence under this name"
    assert rows[9][0] == "é <b>"
    table = rows_of(saved(page, "#csv"))
    good = [row for row in table if not row["problem"]]
    np.testing.assert_allclose(floats(good, "prediction"), expected([a, b, b[:107]]), atol=1e-5)
    assert [row["line"] for row in good] == ["1", "7", "12"]
    assert table[1]["problem"].startswith("letter x") and table[1]["prediction"] == ""


def test_a_core_gets_the_cards_flanks_which_are_shown(visit, expected):
    page, (core,) = visit(), cores(1)
    page.fill("#text", f"\nmine\t{core}\n")
    shown(page, "#count").to_contain_text(f"Flanks are added to each: {LEFT} core {RIGHT}")
    ask(page, f"\nmine\t{core}\n")
    shown(page, "#table .letters").to_have_text(LEFT + core + RIGHT)
    assert page.locator("#table .flank").all_inner_texts() == [LEFT, RIGHT]
    (row,) = rows_of(saved(page, "#csv"))
    assert (row["given"], row["sequence"], row["line"]) == (core, LEFT + core + RIGHT, "2")
    assert float(row["prediction"]) == pytest.approx(expected([row["sequence"]])[0], abs=1e-5)


def test_an_ensembles_interval_and_place_among_the_measured_are_shown(visit, answers, card):
    page, given = visit(), promoters(4)
    shown(page, "#model").to_contain_text("mean of 3 networks")
    ask(page, "\n".join(given))
    heads = page.locator("#table thead th").all_inner_texts()
    assert heads[2:] == ["Prediction", "90 % interval", "Spread", "Among measured"]
    right, table = answers(given), rows_of(saved(page, "#csv"))
    for name in ("lower", "upper", "spread"):
        np.testing.assert_allclose(floats(table, name), right[name], atol=1e-5)
    assert {float(row["coverage"]) for row in table} == {0.9}
    first = body(page)[0]
    assert first[3] == f"{right['lower'][0]:.2f} to {right['upper'][0]:.2f}".replace("-", "−")
    place = np.interp(right["expression"], card["measured"]["quantiles"], np.arange(101))
    np.testing.assert_allclose(floats(table, "percentile"), place, atol=1e-3)
    assert first[5].strip() == f"{place[0]:.0f} %"


def test_what_the_model_refuses_has_its_reason_from_the_card(visit):
    page = visit()
    page.route("**/card", lambda route: route.fulfill(json={"rule": RULE, "reasons": ["", "odd"]}))
    page.reload()
    told = '{"expression": NaN, "valid": false, "reason": 1}'
    page.route("**/*:predict", lambda route: route.fulfill(body=f'{{"predictions": [{told}]}}'))
    page.fill("#text", promoters(1)[0])
    page.click("#predict")
    shown(page, "#said").to_have_text("0 sequences predicted; 1 cannot be read.")
    assert body(page)[0][2] == "Line 1: odd"


def test_percentiles_are_those_of_scipy(visit):
    stats = pytest.importorskip("scipy.stats")
    measured = np.sort(np.random.default_rng(1).normal(8, 3, 101)).round(0)  # with ties
    values = [*np.linspace(-3, 20, 40), *measured[::7]]
    page = visit()
    ours = page.evaluate(
        "async ([values, measured]) => {const table = await import('/table.js');"
        " return values.map((value) => table.percentile(value, measured));}",
        [[float(v) for v in values], measured.tolist()],
    )
    ranks = stats.percentileofscore(measured, values, "mean")
    np.testing.assert_allclose(ours, ranks, atol=1.0)  # between the points we go straight


def test_bare_nan_is_read_outside_strings_only(visit):
    page = visit()
    text = r'{"a": [NaN, -Infinity, 1.5e3, "NaN \" NaN", null], "NaN": Infinity}'
    parsed = page.evaluate("async (text) => (await import('/server.js')).parse(text)", text)
    assert parsed == {"a": [None, None, 1500, 'NaN " NaN', None], "NaN": None}


def test_files_are_dropped_and_opened_below_what_is_there(visit, tmp_path):
    page, given = visit(), promoters(3)
    page.fill("#text", given[0])
    fasta = f">two words\n{given[1][:50]}\n{given[1][50:]}\n"
    page.evaluate(
        """(text) => {
            const data = new DataTransfer();
            data.items.add(new File([text], "a.fasta"));
            for (const kind of ["dragover", "drop"]) {
                document.body.dispatchEvent(
                    new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
            }
        }""",
        fasta,
    )
    shown(page, "#text").to_have_value(f"{given[0]}\n{fasta}")
    (tmp_path / "b.txt").write_text(given[2])
    (tmp_path / "c.png").write_bytes(b"\x89PNG\0\xff")
    page.set_input_files("#file", [tmp_path / "b.txt", tmp_path / "c.png"])
    shown(page, "#said").to_have_text("c.png is no text file.")
    assert page.input_value("#text") == f"{given[0]}\n{fasta}{given[2]}"
    shown(page, "#count").to_contain_text("2 sequences, 1 cannot be read")  # all below > is its


def test_hostile_names_are_text(visit):
    page = visit()
    names = ["<img src=x onerror=alert(1)>", "</td><script>alert(2)</script>", '=1+1,"x"']
    ask(page, "".join(f"{name}\t{s}\n" for name, s in zip(names, promoters(3), strict=True)))
    assert [row[0] for row in body(page)] == names
    page.get_by_role("button", name=names[0], exact=True).click()
    shown(page, "#map-title").to_have_text(f"Single mutants of {names[0]}")
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    assert page.locator("img, td script").count() == 0
    table = rows_of(saved(page, "#csv"))
    assert [row["name"] for row in table] == [*names[:2], "'" + names[2]]  # no formula


def test_all_of_it_works_by_keyboard_alone(visit, expected):
    page, (given,) = visit(), promoters(1)

    def tab_to(selector):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        pytest.fail(f"Tab does not reach {selector}")

    shown(page, "#model").to_contain_text("version 1")
    tab_to("#text")
    page.keyboard.insert_text(given)
    assert tab_to("#predict") == "solid"
    page.keyboard.press("Enter")
    shown(page, "#said").to_contain_text("1 sequence predicted")
    tab_to("#table tbody button.link")
    page.keyboard.press("Enter")
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    assert tab_to("#grid td") == "solid"
    page.keyboard.press("Home")
    for key in ("ArrowRight", "ArrowRight", "PageDown"):
        page.keyboard.press(key)
    for _ in range("ACGT".index(other(given[12]))):
        page.keyboard.press("ArrowDown")
    label = page.evaluate("document.activeElement.ariaLabel")
    assert label.startswith(f"position 13, {given[12]} to {other(given[12])}: prediction ")
    value = float(re.search(r"prediction (\S+),", label)[1].replace("−", "-"))
    assert value == pytest.approx(expected([mutated(given, 12, other(given[12]))])[0], abs=0.0051)
    page.keyboard.press("Enter")
    shown(page, "#effect").to_contain_text(f"With {given[12]}13{other(given[12])}")
    assert "as it is" in page.evaluate("document.activeElement.ariaLabel")  # the focus has stayed
    page.keyboard.press("Control+z")
    shown(page, "#effect").to_contain_text("As it is")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.place") == "109"


def test_a_finger_looks_first_and_then_changes(visit):
    page = visit(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    (given,) = promoters(1)
    ask(page, given)
    page.locator("#table tbody button.link").tap()
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    cell = page.locator(at(20, other(given[20])))
    cell.tap()
    shown(page, "#cell-text").to_contain_text("Position 21")
    shown(page, "#effect").to_contain_text("As it is")
    page.locator("#change").tap()
    shown(page, "#effect").to_contain_text(f"With {given[20]}21")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_is_legible_and_every_control_has_a_name(visit, width, scheme):
    page = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    ask(page, "\n".join([*promoters(2), *cores(1), "long name " * 20 + "\tAC", "X" * 300]))
    page.locator("#table tbody button.link").first.click()
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "textbox", "gridcell", "columnheader", "grid", "table", "progressbar"}
    found = [n for n in tree if not n["ignored"] and n["role"]["value"] in controls]
    assert len(found) > 440
    assert not [n for n in found if not n.get("name", {}).get("value", "").strip()]
    assert not page.evaluate(FAINT)


# Texts whose contrast with what lies behind them is below 4.5 (WCAG 2.2, 1.4.3), cells of the map
# aside, whose own letters stand on no colour.
FAINT = """() => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const c = numbers(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] > 0.9) return c.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !e.checkVisibility() || e.disabled) continue;
        const [a, b] = [light(numbers(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) faint.push(`${e.tagName} ${e.id} ${e.textContent.slice(0, 30)} ${ratio}`);
    }
    return faint;
}"""


@pytest.mark.slow
def test_ten_thousand_lines_go_in_parts_and_stay_usable(visit, expected):
    page, given = visit(permissions=["clipboard-read", "clipboard-write"]), promoters(10_000)
    sizes = []
    page.on(
        "request",
        lambda request: (
            ":predict" in request.url
            and sizes.append(len(json.loads(request.post_data)["instances"]))
        ),
    )
    page.evaluate("(text) => navigator.clipboard.writeText(text)", "\n".join(given))
    page.focus("#text")
    page.keyboard.press("Control+v")  # Playwright's own fill takes minutes
    shown(page, "#count").to_have_text("10,000 sequences.")
    page.click("#predict")
    shown(page, "#said").to_have_text("10,000 sequences predicted.", timeout=5 * MINUTE)
    assert sum(sizes) == 10_000 and max(sizes) <= 512
    shown(page, "#table tbody tr").to_have_count(200)
    page.get_by_role("button", name="Prediction", exact=True).click()
    page.click("#more")
    shown(page, "#table tbody tr").to_have_count(400)
    table = rows_of(saved(page, "#csv"))
    found = floats(table, "prediction")
    assert (np.diff(found) <= 0).all() and {row["sequence"] for row in table} == set(given)
    right = expected([row["sequence"] for row in table])
    np.testing.assert_allclose(found, right, atol=1e-5)
    took = page.evaluate(
        "() => {const t = performance.now(); const box = document.getElementById('text');"
        " box.dispatchEvent(new Event('input')); box.scrollTop = 1e6;"
        " document.querySelector('#table thead button').click(); return performance.now() - t;}"
    )
    assert took < 2_000  # milliseconds; a person waits for no key


def test_a_prediction_is_cancelled_and_goes_on_where_it_was(visit):
    page, given, held = visit(), promoters(600), []

    def second(route):
        held.append(route)
        if len(held) == 1:
            route.continue_()  # the second one is never answered

    page.route("**/*:predict", second)
    page.fill("#text", "\n".join(given))
    page.click("#predict")
    shown(page, "#said").to_have_text("512 of 600 sequences predicted …")
    page.click("#cancel")
    shown(page, "#said").to_have_text("Cancelled. 512 predictions stay in the table.")
    shown(page, "#predict").to_be_focused()
    page.unroute("**/*:predict")
    with page.expect_request("**/*:predict") as request:
        page.click("#predict")
    assert json.loads(request.value.post_data)["instances"] == given[512:]
    shown(page, "#said").to_have_text("600 sequences predicted.")


def test_a_busy_server_is_asked_again(visit):
    page, times = visit(quiet=False), []

    def busy(route):
        times.append(page.evaluate("performance.now()"))
        if len(times) < 3:
            route.fulfill(status=503, headers={"Retry-After": "2"}, json={"error": "full"})
        else:
            route.continue_()

    page.route("**/*:predict", busy)
    page.fill("#text", promoters(1)[0])
    page.click("#predict")
    shown(page, "#said").to_have_text("The server is busy; trying again in 2 s (attempt 2 of 5).")
    shown(page, "#said").to_have_text("1 sequence predicted.")
    assert len(times) == 3 and min(np.diff(times)) >= 1999


@pytest.mark.parametrize(
    "answer, words",
    [
        (None, "The server does not answer"),
        ({"status": 400, "json": {"error": "<b>wrong</b>"}}, "answers 400: <b>wrong</b>"),
        ({"status": 200, "body": "<html>"}, "answers no JSON"),
        ({"status": 200, "json": {"predictions": []}}, "does not answer as a promoter model"),
    ],
)
def test_a_failure_is_said_and_nothing_typed_is_lost(visit, answer, words):
    page, (given,) = visit(quiet=False), promoters(1)
    page.route("**/*:predict", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.fill("#text", given)
    page.click("#predict")
    shown(page, "#said").to_contain_text(words)
    shown(page, "#said").to_contain_text("Nothing that you typed is lost")
    assert page.input_value("#text") == given
    page.unroute("**/*:predict")
    page.click("#predict")
    shown(page, "#said").to_have_text("1 sequence predicted.")


def test_a_change_that_cannot_be_predicted_is_not_made(visit):
    page, (given,) = visit(quiet=False), promoters(1)
    ask(page, given)
    page.locator("#table tbody button.link").click()
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    page.route("**/*:predict", lambda route: route.abort())
    page.click(at(5, other(given[5])))
    shown(page, "#effect").to_contain_text("The server does not answer")
    shown(page, "#history li").to_have_count(0)
    page.unroute("**/*:predict")
    page.click(at(5, other(given[5])))
    shown(page, "#effect").to_contain_text(f"With {given[5]}6{other(given[5])}: prediction")


def test_quick_changes_are_all_made(visit):
    page, (given,) = visit(), promoters(1)
    ask(page, given)
    page.locator("#table tbody button.link").click()
    shown(page, "#map-body").to_be_visible(timeout=MINUTE)
    for place in (30, 31, 32):
        page.locator(at(place, other(given[place]))).dispatch_event("click")
    made = ", ".join(f"{given[p]}{p + 1}{other(given[p])}" for p in (30, 31, 32))
    shown(page, "#effect").to_contain_text(f"With {made}: prediction")
    page.click("#reset")
    shown(page, "#effect").to_contain_text("As it is")


def test_a_new_version_of_the_model_takes_over(visit):
    page = visit(quiet=False)
    status = {"version": "2", "state": "AVAILABLE"}
    page.route(
        "**/models/camformer",
        lambda route: route.fulfill(json={"model_version_status": [status]}),
    )
    page.route(
        "**/versions/1:predict", lambda route: route.fulfill(status=404, json={"error": "x"})
    )
    page.route("**/versions/2/card", lambda route: route.fulfill(json={"rule": RULE}))
    answer = {"expression": 1.0, "valid": True}
    page.route("**/versions/2:predict", lambda route: route.fulfill(json={"predictions": [answer]}))
    ask(page, promoters(1)[0])
    assert rows_of(saved(page, "#csv"))[0]["version"] == "2"


class TensorFlowServing(http.server.BaseHTTPRequestHandler):
    """As much of TensorFlow Serving's REST as the page asks for: no list of models, no card."""

    cors = True

    def log_message(self, *_):
        pass

    def reply(self, status, told):
        data = json.dumps(told).encode()
        self.send_response(status)
        if self.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path != "/v1/models/mine":
            return self.reply(404, {"error": "Malformed request: GET " + self.path})
        self.reply(200, {"model_version_status": [{"version": "7", "state": "AVAILABLE"}]})

    def do_POST(self):
        assert self.path == "/v1/models/mine/versions/7:predict"
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        answers = [{"expression": s.count("G") / 4, "valid": True} for s in given]
        self.reply(200, {"predictions": answers})


@pytest.fixture
def elsewhere():
    """Serves as TensorFlow Serving does, with the headers for other pages or without."""
    with contextlib.ExitStack() as stack:

        def start(cors):
            handler = type("Handler", (TensorFlowServing,), {"cors": cors})
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


def test_it_predicts_with_tensorflow_serving_elsewhere(visit, elsewhere):
    url = elsewhere(cors=True)
    page = visit(query=f"?server={url}&model=mine", quiet=False, allowed=[url])
    shown(page, "#model").to_contain_text("Model mine, version 7. The server gives no model card")
    (given,) = promoters(1)
    ask(page, given + "\n" + cores(1)[0])
    rows = body(page)
    assert rows[0][2] == f"{given.count('G') / 4:.2f}" and "length 80" in rows[1][2]
    assert page.locator("#table thead th").count() == 3


def test_without_cors_headers_the_flag_is_named(visit, elsewhere):
    url = elsewhere(cors=False)
    page = visit(query=f"?server={url}&model=mine", quiet=False, allowed=[url])
    shown(page, "#model").to_contain_text("--rest_api_enable_cors_support=true")
    page = visit(query="?server=ftp://x", quiet=False)
    shown(page, "#model").to_contain_text("expected an address")
