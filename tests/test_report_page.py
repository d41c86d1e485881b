"""The report in a real browser: it is clicked, focused, played, sorted, and looked at."""

import base64

import numpy as np
import pytest
from report_browser import FIXTURES, choose, click, column, find, needs_browser, wait_for
from reporting.test_page import DEFAULTS, HOSTILE

browser, many, one, opened = FIXTURES
pytestmark = needs_browser


def test_one_click_plays_and_the_next_stops_the_last(opened, one):
    browser = opened(one)
    first, second = find(browser, ".play")[:2]
    heads = find(browser, ".playhead")
    click(browser, first)
    assert first.get_attribute("aria-pressed") == "true"
    wait_for(heads[0].is_displayed)
    place = heads[0].location["x"]
    wait_for(lambda: heads[0].location["x"] > place)
    click(browser, second)
    assert first.get_attribute("aria-pressed") == "false"
    assert second.get_attribute("aria-pressed") == "true"
    assert not heads[0].is_displayed()
    wait_for(heads[1].is_displayed)
    click(browser, second)
    assert second.get_attribute("aria-pressed") == "false"
    assert not heads[1].is_displayed()
    click(browser, first)
    wait_for(heads[0].is_displayed)
    wait_for(lambda: first.get_attribute("aria-pressed") == "false", 10)  # at its end


def painted(browser, canvas):
    return browser.execute_script(
        "return [arguments[0].dataset.painted || '', arguments[0].toDataURL()]", canvas
    )


def test_spectrograms_are_painted_in_view_and_show_errors_on_request(opened, one):
    browser = opened(one)
    canvases = find(browser, "canvas")
    assert painted(browser, canvases[-1])[0] == ""
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", canvases[0])
    wait_for(lambda: painted(browser, canvases[1])[0] == "level")
    level = painted(browser, canvases[1])[1]
    click(browser, find(browser, "#show-error")[0])
    wait_for(lambda: painted(browser, canvases[1])[0] == "error")
    assert painted(browser, canvases[1])[1] != level
    black = browser.execute_script(
        "const c = arguments[0]; return Math.max(...c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 < 3))",
        canvases[0],
    )
    assert black == 0  # the original differs from itself nowhere
    click(browser, find(browser, "#show-error")[0])
    wait_for(lambda: painted(browser, canvases[1]) == ["level", level])


def test_tables_are_sorted_up_and_down(opened, many):
    browser = opened(many)
    heads = find(browser, "#results table th[scope=col]")
    names = [head.text for head in heads]
    place = next(i for i, name in enumerate(names) if "floats/s" in name)
    button = heads[place].find_element("css selector", "button")
    click(browser, button)
    assert heads[place].get_attribute("aria-sort") == "ascending"
    up = column(browser, "#results table", place)
    known = [float(text) for text in up if text != "–"]
    assert known == sorted(known)
    assert len(set(known)) > 2
    assert up[-1] == "–"
    click(browser, button)
    assert heads[place].get_attribute("aria-sort") == "descending"
    down = column(browser, "#results table", place)
    assert [float(text) for text in down if text != "–"] == known[::-1]
    assert down[-1] == "–"
    click(browser, heads[0].find_element("css selector", "button"))
    assert heads[place].get_attribute("aria-sort") is None
    assert column(browser, "#results table", 0)[:2] == ["all runs", "conv,4,0"]
    worst = column(browser, "#worst table", 5)
    assert [float(x) for x in worst] == sorted(float(x) for x in worst)


def test_points_tell_their_row_to_the_mouse_and_to_the_keyboard(opened, many):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser = opened(many)
    readout = find(browser, "#curve-readout")[0]
    points = find(browser, "#curve-plot .point")
    assert [point.get_attribute("tabindex") for point in points].count("0") == 1
    ActionChains(browser).move_to_element(points[-1]).perform()
    assert readout.text == points[-1].get_attribute("aria-label") != ""
    browser.execute_script("document.querySelector('#curve-plot [tabindex=\"0\"]').focus()")
    first = readout.text
    assert first.startswith("conv · speech: ")
    assert "over 2 seeds" in first
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert readout.text != first
    assert [point.get_attribute("tabindex") for point in points].count("0") == 1
    ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
    assert readout.text == first
    assert len(column(browser, "#curve-table table", 0)) == len(points)
    assert find(browser, "#curve-plot .band")


def test_the_curve_switches_its_error_its_rate_and_its_corpus(opened, many):
    browser = opened(many)

    def legend():
        return [item.text for item in find(browser, "#curve-legend li")]

    assert legend()[:2] == ["conv · speech", "lstm · speech"]
    choose(browser, "#measure", "audio_log_mel_rmse_db")
    assert "representation only · speech" in legend()
    assert "log-mel" in find(browser, "#curve-plot")[0].text
    choose(browser, "#corpus", "")
    assert {"conv · speech", "rvq · built-in corpus"} < set(legend())
    choose(browser, "#rate", "bits_per_second")
    assert "kbit/s" in find(browser, "#curve-plot")[0].text
    # Means and their row: 500 bit/s.
    click(browser, find(browser, "#curve details summary")[0])
    assert "0.5" in column(browser, "#curve-table table", 1)


def test_the_map_changes_its_label_and_is_heard(opened, one):
    from selenium.webdriver.common.keys import Keys

    browser = opened(one)
    browser.execute_script(
        "window.played = []; const before = Audio.prototype.play;"
        "HTMLMediaElement.prototype.play = function () {"
        " window.played.push(this); return before.call(this); }"
    )
    choose(browser, "#map-label", "kind")
    assert [item.text for item in find(browser, "#map-legend li")] == ["a", "b"]
    shapes = {p.get_attribute("d") for p in find(browser, "#map-plot .point")}
    assert len(shapes) == 2  # not by colour alone
    choose(browser, "#map-label", "level")
    assert not find(browser, "#map-legend li")
    fills = {point.get_attribute("style") for point in find(browser, "#map-plot .point")}
    assert len(fills) == 8
    choose(browser, "#map-label", "</script><b>")
    assert [item.text for item in find(browser, "#map-legend li")][0].startswith('"quoted"')
    points = find(browser, "#map-plot .point")
    click(browser, points[0])
    points[1].send_keys(Keys.ENTER)
    assert browser.execute_script("return played.length") == 2
    wait_for(lambda: browser.execute_script("return played[0].paused"))
    wait_for(lambda: browser.execute_script("return played[1].ended || played[1].currentTime > 0"))
    assert ".wav" in find(browser, "#map-readout")[0].text


def test_one_run_is_chosen_and_its_config_is_shown(opened, many):
    browser = opened(many)
    facts = find(browser, "#facts")[0]
    assert "conv,4,0" in facts.text
    choose(browser, "#run", "7")
    assert "lstm,4,1" in facts.text
    changed = column(browser, "#keys table", 0)
    assert {"model.encoder", "model.latent_dim", "seed", "name"} <= set(changed)
    click(browser, find(browser, "#only-changed")[0])
    every = column(browser, "#keys table", 0)
    assert len(every) == len(DEFAULTS) > len(changed)
    marked = find(browser, "#keys tr.changed")
    assert len(marked) == len(changed)
    assert find(browser, "#training-plots svg")
    choose(browser, "#training-run", "3")
    assert find(browser, "#training-plots path.stroke")
    assert "left out: gone" in find(browser, "header")[0].text


def test_hostile_names_are_shown_not_run(opened, one):
    browser = opened(one)
    shown = [name.text for name in find(browser, ".clip .name")]
    assert shown[:3] == HOSTILE[:3]
    assert len(shown) == len(HOSTILE)
    assert HOSTILE[0] in column(browser, "#worst table", 0)
    assert not find(browser, "body b, body i, body img")
    assert (
        browser.execute_script("return document.scripts.length")
        == len(find(browser, "script[type]")) + 1
    )


def test_the_policy_holds_what_it_forbids(browser, one):
    browser.get(one.as_uri())
    browser.get_log("browser")
    ran = browser.execute_async_script(
        "const done = arguments[0]; const script = document.createElement('script');"
        "script.textContent = 'window.ran = true'; document.body.append(script);"
        "const image = new Image(); image.onerror = () => done([window.ran === true, 'refused']);"
        "image.onload = () => done([window.ran === true, 'loaded']);"
        "image.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=';"
    )
    assert ran == [False, "refused"]
    browser.get_log("browser")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("which", ["one", "many"])
def test_it_fits_its_width_and_its_light(opened, request, tmp_path, which, width, dark):
    browser = opened(request.getfixturevalue(which), width, dark)
    wide = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide[0] <= wide[1]
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('section > *, .card, .controls > *, .plot > svg')]"
        ".filter((x) => x.getBoundingClientRect().right > innerWidth + 1).map((x) => x.outerHTML)"
    )
    assert not beyond
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    (tmp_path / "page.png").write_bytes(base64.b64decode(picture["data"]))
    back = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    ink = browser.execute_script(
        "return getComputedStyle(document.body).color.match(/\\d+/g).map(Number)"
    )
    assert (np.mean(back) < 60) == dark
    assert abs(np.mean(back) - np.mean(ink)) > 150
