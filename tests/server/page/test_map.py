"""The map of single mutants, by mouse, finger and keyboard, wide and narrow."""

import re
from pathlib import Path

import pytest
import support
from support import page_steps as steps

pytestmark = pytest.mark.browser
LOW_CONTRAST = Path(support.__file__).parent / "programs" / "low_contrast.js"


def test_everything_works_with_the_keyboard_alone(visit, expected):
    page, (sequence,) = visit(), steps.promoters(1)

    def tab_to(selector):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        pytest.fail(f"Tab does not reach {selector}")

    steps.expect(page, "#model").to_contain_text("version 1")
    tab_to("#text")
    page.keyboard.insert_text(sequence)
    assert tab_to("#predict") == "solid"
    page.keyboard.press("Enter")
    steps.expect(page, "#message").to_contain_text("1 sequence predicted")
    tab_to("#table tbody button.link")
    page.keyboard.press("Enter")
    steps.expect(page, "#map-body").to_be_visible(timeout=steps.MINUTE)
    assert tab_to("#grid td") == "solid"
    page.keyboard.press("Home")
    for key in ("ArrowRight", "ArrowRight", "PageDown"):
        page.keyboard.press(key)
    letter = steps.other_letter(sequence[12])
    for _ in range("ACGT".index(letter)):
        page.keyboard.press("ArrowDown")
    label = page.evaluate("document.activeElement.ariaLabel")
    assert label.startswith(f"position 13, {sequence[12]} to {letter}: prediction ")
    value = float(re.search(r"prediction (\S+),", label)[1].replace("−", "-"))
    mutant = steps.mutate(sequence, 12, letter)
    assert value == pytest.approx(expected([mutant])[0], abs=0.0051)
    page.keyboard.press("Enter")
    steps.expect(page, "#effect").to_contain_text(f"With {sequence[12]}13{letter}")
    label = page.evaluate("document.activeElement.ariaLabel")
    assert label == f"position 13, {letter}, unchanged"  # the focus has stayed
    page.keyboard.press("Control+z")
    steps.expect(page, "#effect").to_contain_text("Original sequence: prediction")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.place") == "109"


def test_the_first_touch_describes_a_change_and_a_second_makes_it(visit):
    page = visit(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    (sequence,) = steps.promoters(1)
    steps.predict(page, sequence)
    page.locator("#table tbody button.link").tap()
    steps.expect(page, "#map-body").to_be_visible(timeout=steps.MINUTE)
    cell = page.locator(steps.cell(20, steps.other_letter(sequence[20])))
    cell.tap()
    steps.expect(page, "#cell-text").to_contain_text("Position 21")
    steps.expect(page, "#effect").to_contain_text("Original sequence: prediction")
    page.locator("#change").tap()
    steps.expect(page, "#effect").to_contain_text(f"With {sequence[20]}21")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_has_contrast_and_every_control_has_a_name(visit, width, scheme):
    page = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    lines = [*steps.promoters(2), *steps.cores(1), "long name " * 20 + "\tAC", "X" * 300]
    steps.predict(page, "\n".join(lines))
    steps.open_map(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "gridcell", "columnheader", "grid", "table", "progressbar"}
    controls = [n for n in tree if not n["ignored"] and n["role"]["value"] in roles]
    assert len(controls) > 440
    assert not [n for n in controls if not n.get("name", {}).get("value", "").strip()]
    assert not page.evaluate(LOW_CONTRAST.read_text())


def test_a_change_is_not_made_if_its_prediction_fails(visit):
    page, (sequence,) = visit(quiet=False), steps.promoters(1)
    steps.predict(page, sequence)
    steps.open_map(page)
    page.route("**/*:predict", lambda route: route.abort())
    letter = steps.other_letter(sequence[5])
    page.click(steps.cell(5, letter))
    steps.expect(page, "#effect").to_contain_text("The server does not answer")
    steps.expect(page, "#history li").to_have_count(0)
    page.unroute("**/*:predict")
    page.click(steps.cell(5, letter))
    steps.expect(page, "#effect").to_contain_text(f"With {sequence[5]}6{letter}: prediction")


def test_changes_in_quick_succession_are_all_made(visit):
    page, (sequence,) = visit(), steps.promoters(1)
    steps.predict(page, sequence)
    steps.open_map(page)
    letters = {place: steps.other_letter(sequence[place]) for place in (30, 31, 32)}
    for place, letter in letters.items():
        page.locator(steps.cell(place, letter)).dispatch_event("click")
    notation = ", ".join(f"{sequence[p]}{p + 1}{letter}" for p, letter in letters.items())
    steps.expect(page, "#effect").to_contain_text(f"With {notation}: prediction")
    page.click("#reset")
    steps.expect(page, "#effect").to_contain_text("Original sequence: prediction")
