"""The table of predictions: numbers, order, percentiles, downloads."""

import json

import numpy as np
import pytest
from support import page_steps as steps

pytestmark = pytest.mark.browser


def test_predict_sort_open_the_map_mutate_undo_and_download(visit, expected):
    page, sequences = visit(), steps.promoters(5)
    steps.predict(page, "".join(f"p{i}\t{s}\n" for i, s in enumerate(sequences)))
    steps.expect(page, "#model").to_contain_text("Model camformer, version 1")
    right = expected(sequences)
    assert [row[0] for row in steps.table_rows(page)] == [f"p{i}" for i in range(5)]
    np.testing.assert_allclose(
        [float(row[2].replace("−", "-")) for row in steps.table_rows(page)], right, atol=0.0051
    )

    page.get_by_role("button", name="Prediction", exact=True).click()
    head = steps.expect(page, "#table thead th:nth-child(3)")
    head.to_have_attribute("aria-sort", "descending")
    order = np.argsort(-right, kind="stable")
    assert [row[0] for row in steps.table_rows(page)] == [f"p{i}" for i in order]
    table = steps.parse_csv(steps.download(page, "#csv"))
    assert [row["sequence"] for row in table] == [sequences[i] for i in order]
    assert {(row["model"], row["version"]) for row in table} == {("camformer", "1")}
    np.testing.assert_allclose(steps.column(table, "prediction"), right[order], atol=1e-5)

    page.get_by_role("button", name="p3", exact=True).click()
    steps.expect(page, "#map-body").to_be_visible(timeout=steps.MINUTE)
    changes = steps.parse_csv(steps.download(page, "#map-csv"))
    assert len(changes) == 330
    for row in changes:
        place = int(row["position"]) - 1
        assert sequences[3][place] == row["from"]
        assert row["sequence"] == steps.mutate(sequences[3], place, row["to"])
    predictions = expected([row["sequence"] for row in changes])
    np.testing.assert_allclose(steps.column(changes, "prediction"), predictions, atol=1e-5)
    effects = predictions - right[3]
    np.testing.assert_allclose(steps.column(changes, "change"), effects, atol=2e-5)
    assert steps.download(page, "#map-png").startswith(b"\x89PNG")

    letter = steps.other_letter(sequences[3][40])
    mutant = steps.mutate(sequences[3], 40, letter)
    page.click(steps.cell(40, letter))
    notation = f"{sequences[3][40]}41{letter}"
    steps.expect(page, "#effect").to_contain_text(f"With {notation}: prediction")
    steps.expect(page, "#history li").to_have_count(1)
    new_map = steps.parse_csv(steps.download(page, "#map-csv"))
    reversal = [row for row in new_map if row["position"] == "41" and row["to"] == sequences[3][40]]
    assert reversal[0]["sequence"] == sequences[3]
    np.testing.assert_allclose(
        steps.column(reversal, "change"), right[3] - expected([mutant])[0], atol=2e-5
    )
    page.click("#undo")
    steps.expect(page, "#effect").to_contain_text("Original sequence: prediction")
    assert steps.parse_csv(steps.download(page, "#map-csv")) == changes


def test_an_ensemble_has_intervals_spread_and_percentiles(visit, outputs, card):
    page, sequences = visit(), steps.promoters(4)
    steps.expect(page, "#model").to_contain_text("mean of 3 networks")
    steps.predict(page, "\n".join(sequences))
    heads = page.locator("#table thead th").all_inner_texts()
    assert heads[2:] == ["Prediction", "90 % interval", "Spread", "Percentile"]
    right, table = outputs(sequences), steps.parse_csv(steps.download(page, "#csv"))
    for name in ("lower", "upper", "spread"):
        np.testing.assert_allclose(steps.column(table, name), right[name], atol=1e-5)
    assert {float(row["coverage"]) for row in table} == {0.9}
    first = steps.table_rows(page)[0]
    assert first[3] == f"{right['lower'][0]:.2f} to {right['upper'][0]:.2f}".replace("-", "−")
    ranks = np.interp(right["expression"], card["measured"]["quantiles"], np.arange(101))
    np.testing.assert_allclose(steps.column(table, "percentile"), ranks, atol=1e-3)
    assert first[5].strip() == f"{ranks[0]:.0f} %"


def test_a_sequence_that_the_model_refuses_has_the_reason_of_the_card(visit):
    page = visit()
    new_card = {"rule": steps.RULE, "reasons": ["", "odd"]}
    page.route("**/card", lambda route: route.fulfill(json=new_card))
    page.reload()
    answer = '{"expression": NaN, "valid": false, "reason": 1}'
    page.route("**/*:predict", lambda route: route.fulfill(body=f'{{"predictions": [{answer}]}}'))
    page.fill("#text", steps.promoters(1)[0])
    page.click("#predict")
    steps.expect(page, "#message").to_have_text("0 sequences predicted; 1 cannot be read.")
    assert steps.table_rows(page)[0][2] == "Line 1: odd"


def test_percentiles_are_those_of_scipy(visit):
    stats = pytest.importorskip("scipy.stats")
    quantiles = np.sort(np.random.default_rng(1).normal(8, 3, 101)).round(0)  # with ties
    values = [*np.linspace(-3, 20, 40), *quantiles[::7]]
    page = visit()
    percentiles = page.evaluate(
        "async ([values, quantiles]) => {const table = await import('/table.js');"
        " return values.map((value) => table.percentile(value, quantiles));}",
        [[float(v) for v in values], quantiles.tolist()],
    )
    ranks = stats.percentileofscore(quantiles, values, "mean")
    np.testing.assert_allclose(percentiles, ranks, atol=1.0)  # the page interpolates


def test_hostile_names_are_text(visit):
    page = visit()
    names = ["<img src=x onerror=alert(1)>", "</td><script>alert(2)</script>", '=1+1,"x"']
    pairs = zip(names, steps.promoters(3), strict=True)
    steps.predict(page, "".join(f"{name}\t{sequence}\n" for name, sequence in pairs))
    assert [row[0] for row in steps.table_rows(page)] == names
    page.get_by_role("button", name=names[0], exact=True).click()
    steps.expect(page, "#map-title").to_have_text(f"Single mutants of {names[0]}")
    steps.expect(page, "#map-body").to_be_visible(timeout=steps.MINUTE)
    assert page.locator("img, td script").count() == 0
    table = steps.parse_csv(steps.download(page, "#csv"))
    assert [row["name"] for row in table] == [*names[:2], "'" + names[2]]  # no formula


@pytest.mark.slow
def test_ten_thousand_lines_go_in_several_requests_and_stay_usable(visit, expected):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    sequences = steps.promoters(10_000)
    sizes = []
    page.on(
        "request",
        lambda request: (
            ":predict" in request.url
            and sizes.append(len(json.loads(request.post_data)["instances"]))
        ),
    )
    page.evaluate("(text) => navigator.clipboard.writeText(text)", "\n".join(sequences))
    page.focus("#text")
    page.keyboard.press("Control+v")  # Playwright's own fill takes minutes
    steps.expect(page, "#count").to_have_text("10,000 sequences.")
    page.click("#predict")
    steps.expect(page, "#message").to_have_text(
        "10,000 sequences predicted.", timeout=5 * steps.MINUTE
    )
    assert sum(sizes) == 10_000 and max(sizes) <= 512
    steps.expect(page, "#table tbody tr").to_have_count(200)
    page.get_by_role("button", name="Prediction", exact=True).click()
    page.click("#more")
    steps.expect(page, "#table tbody tr").to_have_count(400)
    table = steps.parse_csv(steps.download(page, "#csv"))
    predictions = steps.column(table, "prediction")
    assert (np.diff(predictions) <= 0).all() and {row["sequence"] for row in table} == set(
        sequences
    )
    right = expected([row["sequence"] for row in table])
    np.testing.assert_allclose(predictions, right, atol=1e-5)
    milliseconds = page.evaluate(
        "() => {const t = performance.now(); const box = document.getElementById('text');"
        " box.dispatchEvent(new Event('input')); box.scrollTop = 1e6;"
        " document.querySelector('#table thead button').click(); return performance.now() - t;}"
    )
    assert milliseconds < 2_000
