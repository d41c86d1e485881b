"""How the report is laid out in a real browser: order, axes, scales, tables."""

import time

import pytest
from report_browser import FIXTURES, choose, click, column, find, needs_browser, wait_for
from report_runs import add_intervals, make_run
from reporting.test_page import DEFAULTS

from aejax.reporting import page

browser, many, one, opened = FIXTURES
pytestmark = needs_browser


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The page of a sweep of five sizes, with as many clips in its tables as the built-in corpus
    has, labels of ten values, and intervals."""
    root = tmp_path_factory.mktemp("sweep")
    clips = [f"synthetic/{i:06}" for i in range(3)]
    runs = []
    for dim in (4, 8, 16, 32, 64):
        changes = {"name": "mel_conv", "model.latent_dim": dim}
        run = make_run(root / f"latent_dim={dim}", changes, clips=clips, seconds=1.0, kinds=10)
        line = (run / "clips.jsonl").read_text().splitlines()[0]
        (run / "clips.jsonl").write_text(100 * f"{line}\n")
        runs.append(add_intervals(run))
    page.write(root / "report.html", runs, defaults=DEFAULTS)
    return root / "report.html"


def test_one_run_opens_with_its_headline_and_its_clips(opened, one, many):
    browser = opened(one)
    assert find(browser, "h1")[0].text.startswith("run: 0.5 dB closer to the original than PCA at")
    top = {section: find(browser, section)[0].location["y"] for section in ("#listen", "#curve")}
    assert top["#listen"] < top["#curve"]
    assert find(browser, ".play")[0].location["y"] < 900  # on the first screen
    browser = opened(many)
    top = {section: find(browser, section)[0].location["y"] for section in ("#listen", "#curve")}
    assert top["#curve"] < top["#listen"]
    assert column(browser, "#results table", 1).count("representation only") == 1


def test_spectrograms_have_axes_and_a_scale(opened, one):
    browser = opened(one)
    first = find(browser, ".spectrogram")[0]
    picture = first.find_element("css selector", ".picture").rect

    def labels(selector):
        return first.find_elements("css selector", selector)

    frequencies, times = labels(".frequency text"), labels(".time text")
    assert [label.text for label in frequencies] == ["500", "1k", "2k", "4k"]
    assert [label.text for label in times] == ["0", "0.5", "1", "1.5 s"]
    assert labels(".unit")[0].text == "Hz"
    heights = [label.rect["y"] for label in frequencies]
    assert heights == sorted(heights, reverse=True)
    assert picture["y"] - 8 < heights[-1] < heights[0] < picture["y"] + picture["height"]
    assert times[1].rect["x"] == pytest.approx(picture["x"] + picture["width"] / 3, abs=15)
    shown = [scale.text.split() for scale in find(browser, ".clip .scale") if scale.is_displayed()]
    assert shown[0] == ["-60", "dB", "-3", "dB"]
    click(browser, find(browser, "#show-error")[0])
    shown = [scale.text.split() for scale in find(browser, ".clip .scale") if scale.is_displayed()]
    assert shown[0] == ["0", "dB", "30", "dB", "difference"]


def test_no_text_of_a_plot_covers_another(opened, many):
    for width in (1280, 375):
        browser = opened(many, width)
        covered = browser.execute_script(
            """
            const covered = [];
            for (const svg of document.querySelectorAll(".plot svg, .plots svg")) {
              const box = (x) => x.getBoundingClientRect(), left = box(svg).left;
              const texts = [...svg.querySelectorAll("text")].map((text) => [text, box(text)]);
              texts.forEach(([a, x], i) => texts.slice(i + 1).forEach(([b, y]) => {
                const beside = x.left >= y.right - 1 || y.left >= x.right - 1;
                const above = x.top >= y.bottom - 3 || y.top >= x.bottom - 3;
                if (!beside && !above) covered.push([a.textContent, b.textContent]);
              }));
              if (texts.some(([, x]) => x.left < left - 1)) covered.push("left of its plot");
            }
            return covered;
            """
        )
        assert covered == []


def test_numbers_line_up_at_the_decimal_point(opened, one):
    browser = opened(one)
    places = browser.execute_script(
        """
        const places = {};
        for (const row of document.querySelector("#results table").tBodies[0].rows)
          [...row.cells].forEach((cell, column) => {
            const text = cell.firstChild;
            if (!cell.classList.contains("number") || !/[0-9]/.test(cell.textContent)) return;
            const range = document.createRange(), dot = text.data.indexOf(".");
            range.setStart(text, 0);
            range.setEnd(text, dot < 0 ? text.data.trimEnd().length : dot);
            (places[column] ||= []).push(range.getBoundingClientRect().right);
          });
        return Object.values(places);
        """
    )
    assert max(map(len, places)) == 4
    for column_places in places:
        assert max(column_places) - min(column_places) < 0.6


def test_the_table_of_clips_is_folded_to_twenty_rows(opened, tmp_path):
    run = make_run(tmp_path / "run", clips=[f"{i:02}.wav" for i in range(33)], seconds=0.05)
    page.write(tmp_path / "report.html", [run], defaults=DEFAULTS)
    browser = opened(tmp_path / "report.html")

    def shown():
        return [row.text.split()[0] for row in find(browser, "#worst tbody tr") if row.text]

    assert len(shown()) == 20
    button = find(browser, "#worst .unfold")[0]
    assert button.text == "Show all 33 clips"
    # Sorting sorts all rows, of which the first twenty are shown.
    click(browser, find(browser, "#worst th .sort")[0])
    click(browser, find(browser, "#worst th .sort")[0])
    assert shown()[0] == "32.wav"
    assert len(shown()) == 20
    click(browser, button)
    assert len(shown()) == 33
    assert button.get_attribute("aria-expanded") == "true"
    click(browser, button)
    assert len(shown()) == 20


def test_a_phone_is_not_scrolled_forever(opened, tmp_path):
    page.write(tmp_path / "report.html", [make_run(tmp_path / "run")], defaults=DEFAULTS)
    browser = opened(tmp_path / "report.html", 375)
    assert browser.execute_script("return document.documentElement.scrollHeight") < 6000
    assert not find(browser, "#facts")[0].is_displayed()
    click(browser, find(browser, "#config-all summary")[0])
    assert find(browser, "#facts")[0].is_displayed()
    rows = find(browser, "#worst tbody tr")
    assert max(row.rect["height"] for row in rows) < 45  # one line


def test_a_sweep_is_not_scrolled_forever_either(opened, sweep):
    browser = opened(sweep, 375)
    assert browser.execute_script("return document.documentElement.scrollHeight") < 6000
    shown = [clip.get_attribute("open") is not None for clip in find(browser, ".clip")]
    assert shown == [True, False, False]
    assert not find(browser, "#training-plots")[0].is_displayed()
    click(browser, find(browser, "#training summary")[0])
    plot = find(browser, "#training-plots svg")[0]
    wait_for(lambda: plot.is_displayed())
    # Drawn anew at its width, so that its text is not small.
    svg = "#training-plots svg"
    wait_for(lambda: int(find(browser, svg)[0].get_dom_attribute("viewBox").split()[2]) < 375)
    assert len([row for row in find(browser, "#worst tbody tr") if row.is_displayed()]) == 10
    browser = opened(sweep, 1280)
    assert all(clip.get_attribute("open") is not None for clip in find(browser, ".clip"))
    assert find(browser, "#training-plots")[0].is_displayed()
    assert not find(browser, "#training summary")[0].is_displayed()


def test_rates_stand_below_each_other_and_versions_side_by_side(opened, sweep):
    browser = opened(sweep)

    def places():
        cards = find(find(browser, ".matrix")[0], ".card")
        names = [card.text.splitlines()[0] for card in cards]
        return names, [(round(card.rect["x"]), round(card.rect["y"])) for card in cards]

    names, at = places()
    assert names == ["original", "representation only", *5 * ["PCA", names[-1]]]
    assert len({y for _, y in at[:4]}) == 1
    assert [x for x, _ in at[:4]] == sorted({x for x, _ in at})  # four columns
    assert [y for _, y in at[2::2]] == sorted({y for _, y in at})  # five rows
    rates = [head.text for head in find(browser, ".matrix tbody th")[:5]]
    assert rates == [f"{rate} floats/s" for rate in (31.25, 62.5, 125, 250, 500)]
    # On a phone two columns, the original first; nothing is cut off.
    browser = opened(sweep, 375)
    names, at = places()
    assert [x for x, _ in at[:2]] == sorted({x for x, _ in at})
    assert at[0][1] == at[1][1] < at[2][1] == at[3][1] < at[4][1]
    head = find(browser, ".matrix tbody th")[0].rect["y"]
    assert at[1][1] < head < at[2][1]
    right = max(card.rect["x"] + card.rect["width"] for card in find(browser, ".matrix .card"))
    assert right <= 375


def test_an_interval_stands_below_its_number(opened, sweep):
    browser = opened(sweep)
    cell = find(browser, "#results td small")[-1]
    own = cell.find_element("xpath", "..")
    assert own.text.split("\n")[1] == cell.text
    assert " to " in cell.text
    low, high = map(float, cell.text.split(" to "))
    assert low < float(own.text.split("\n")[0]) < high
    assert find(browser, "#labels td small")[0].text == "+3.00 to +4.10"
    point = find(browser, "#curve-plot .point")[0]
    assert "(95 %: " in point.get_attribute("aria-label")
    # Numbers line up although there is something below them.
    heights = {row.rect["height"] for row in find(browser, "#results tbody tr")}
    assert max(heights) < 55


def test_ten_labels_have_ten_colours(opened, sweep):
    browser = opened(sweep, dark=True)
    choose(browser, "#map-label", "kind")
    marks = browser.execute_script(
        "return [...document.querySelectorAll('#map-plot .point')].map("
        "(x) => [getComputedStyle(x).fill, x.getAttribute('d')])"
    )
    assert len({fill for fill, _ in marks}) == 10
    assert len({tuple(mark) for mark in marks}) == 10
    assert len(find(browser, "#map-legend li")) == 10


def test_a_table_that_is_too_wide_says_so(opened, many):
    def hint(selector):
        return browser.execute_script(
            "const style = getComputedStyle(document.querySelector(arguments[0]), '::before');"
            "return style.content.includes('Scroll sideways') && style.display !== 'none'",
            selector,
        )

    browser = opened(many, 375)
    wait_for(lambda: hint("#results .scroll"))
    assert hint("#worst .scroll")
    assert not hint("#facts .scroll")
    click(browser, find(browser, "#curve details summary")[0])
    wait_for(lambda: hint("#curve-table"))
    browser = opened(many, 1280)
    time.sleep(0.1)
    assert not hint("#worst .scroll")
