"""A browser, pages and fixtures for tests of the report."""

import shutil
import time

import pytest
from report_runs import make_run, row
from reporting.test_page import DEFAULTS, HOSTILE

from aejax.reporting import page

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver in the PATH"
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The page of one run whose files and labels have hostile names."""
    root = tmp_path_factory.mktemp("one")
    labels = {"</script><b>": '"quoted"\u2028', "pitch": 3.5}
    run = make_run(root / "run", clips=HOSTILE, labels=labels, seconds=1.5)
    page.write(root / "report.html", [run], defaults=DEFAULTS)
    return root / "report.html"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The page of a sweep over sizes, seeds and encoders."""
    root = tmp_path_factory.mktemp("many")
    runs = [
        make_run(
            root / f"{encoder},{dim},{seed}",
            {"name": f"mel_{encoder}", "model.encoder": encoder, "model.latent_dim": dim}
            | {"seed": seed, "data.path": "/audio/speech"},
        )
        for encoder in ("conv", "lstm")
        for dim in (4, 16, 64)
        for seed in (0, 1)
    ]
    bits = [row("model, 2 codebooks", 250.0, 4.0, bits=500.0)]
    runs.append(make_run(root / "rvq", {"model.bottleneck": "rvq"}, rows=bits))
    page.write(root / "report.html", runs, defaults=DEFAULTS, unfinished=["gone"])
    return root / "report.html"


@pytest.fixture
def opened(browser):
    """``opened(path)`` opens a page; afterwards nothing may have gone wrong in it."""

    def opened(path, width=1280, dark=False):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(path.as_uri())
        ready = "return document.body && document.body.dataset.ready === 'yes'"
        wait_for(lambda: browser.execute_script(ready))
        return browser

    browser.get_log("browser")
    yield opened
    assert browser.get_log("browser") == []


FIXTURES = browser, many, one, opened


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def click(browser, element):
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
    )
    element.click()


def choose(browser, selector, value):
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
        find(browser, selector)[0],
        value,
    )


def wait_for(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def column(browser, table, number):
    return browser.execute_script(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows]"
        ".map((row) => row.cells[arguments[1]].textContent.trim())",
        table,
        number,
    )
