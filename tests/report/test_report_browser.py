"""report.html in a real browser: headless Chromium, driven by its own driver. CHROMIUM and CHROMEDRIVER name others.

The size and the seconds of another report:
    CROPKT_REPORT=runs/demo/report.html pytest -m browser -k opens_quickly -s
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_results import write_results
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from cropkt.report.curves import log_rank, risk_groups
from cropkt.report.html import WIDEST, figure
from cropkt.report.page import write_report
from cropkt.report.sections.store import store_section
from cropkt.report.style import new_figure, save_figure
from cropkt.transfer.store import ResultsFolder

pytestmark = pytest.mark.browser

CODES = ["blca", "cesc", "sarc", "ucec", "dlbc", "ucs"]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,1000"
)
LONG = 10


def _program(variable: str, name: str) -> str:
    found = os.environ.get(variable) or shutil.which(name)
    if found:
        return found
    message = f"{name} is not there; install it (Debian: apt-get install chromium chromium-driver) or set {variable}"
    if os.environ.get("CROPKT_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{message} (CROPKT_REQUIRE_BROWSER=1)")
    pytest.skip(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium with a fresh profile, logging its console and its requests."""
    programs = _program("CHROMIUM", "chromium"), _program("CHROMEDRIVER", "chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    """Made-up results of six cohorts and their report, with a section of an analysis."""
    results = write_results(tmp_path_factory.mktemp("results"), CODES, patients=40)
    picture = save_figure(results.out / "wide.png", new_figure(4)[0])
    body = figure(picture, "A picture", "Its caption.")
    store_section(results, "factors", "What makes knowledge transfer", body, link="Factors")
    write_report(results, study_name="made up", settings={"seed": "0"})
    return results


@pytest.fixture
def page(browser: Any, folder: ResultsFolder) -> Iterator[Any]:
    """The report, freshly opened and drawn; afterwards its console must be empty and nothing fetched."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    open_report(browser, folder.out / "report.html")
    yield browser
    assert browser.get_log("browser") == []
    assert {address.split(":")[0] for address in requested(browser)} <= {"file", "data", "blob"}


def open_report(browser: Any, path: Path) -> float:
    """Open the page and wait until it is drawn; seconds from the start of loading to then."""
    browser.get(path.resolve().as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    return int(browser.execute_script("return document.documentElement.dataset.ready")) / 1000


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` returns once it is true."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing within {LONG} seconds")


def requested(browser: Any) -> list[str]:
    """Addresses the page has asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def text(browser: Any, css: str) -> str:
    """The text of the first element that fits."""
    return str(browser.execute_script("return document.querySelector(arguments[0]).textContent", css))


def cell_centre(browser: Any, row: int, column: int) -> tuple[int, int]:
    """Where a cell of the matrix is in the window, by the axes that the plotting library has drawn."""
    script = """
        const plot = document.getElementById("matrix-plot");
        plot.scrollIntoView({block: "center", behavior: "instant"});
        const box = plot.querySelector(".nsewdrag").getBoundingClientRect();
        const count = plot.layout.xaxis.ticktext.length;
        return [box.x + (arguments[1] + .5) * box.width / count, box.y + (arguments[0] + .5) * box.height / count];
    """
    x, y = browser.execute_script(script, row, column)
    return round(x), round(y)


def point_at(browser: Any, row: int, column: int, *, click: bool = False) -> None:
    from selenium.webdriver.common.action_chains import ActionBuilder

    x, y = cell_centre(browser, row, column)
    actions = ActionBuilder(browser)
    actions.pointer_action.move_to_location(x - 3, y - 3).move_to_location(x, y)
    if click:
        actions.pointer_action.click()
    actions.perform()


def press(browser: Any, *keys: str) -> None:
    """Type on whatever has the focus."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def stored(folder: ResultsFolder, source: str, target: str) -> pd.Series:
    pairs = pd.read_parquet(folder.out / "pairs.parquet")
    return pairs.set_index(["source", "target"]).loc[(source, target)]


def order(page: Any, axis: str = "yaxis") -> list[str]:
    codes = page.execute_script(f"return document.getElementById('matrix-plot').layout.{axis}.ticktext")
    return [label.split()[0].lower() for label in codes]  # "ACC 50/15" has patients and events too


def test_hover_shows_the_numbers_of_the_cell(page: Any, folder: ResultsFolder) -> None:
    rows, columns = order(page), order(page, "xaxis")
    point_at(page, rows.index("blca"), columns.index("cesc"))
    until(lambda: page.execute_script("return document.querySelector('.hoverlayer .hovertext')"))
    shown = text(page, ".hoverlayer .hovertext")
    pair = stored(folder, "blca", "cesc")
    assert "BLCA on CESC" in shown
    assert f"pooled C-index {pair['c_index_pooled']:.3f}" in shown
    assert f"{pair['n_events']:.0f} events" in shown
    failed = next(code for code in columns if stored(folder, "ucs", code)["status"] == "failed")
    point_at(page, rows.index("ucs"), columns.index(failed))
    until(lambda: "made up <to fail>" in text(page, ".hoverlayer"))


def test_click_opens_the_pair_with_the_curves_of_its_predictions(page: Any, folder: ResultsFolder) -> None:
    point_at(page, order(page).index("cesc"), order(page, "xaxis").index("blca"), click=True)
    until(lambda: page.execute_script("return document.getElementById('pair').open"))
    assert text(page, "#pair-title") == "CESC → BLCA"
    drawn = page.execute_script(
        "return document.getElementById('curves-plot').data.filter(trace => trace.name)"
        ".map(trace => [trace.name, [...trace.x], [...trace.y], trace.line.shape])"
    )
    upper = page.execute_script(
        "return document.getElementById('curves-plot').data.filter(trace => trace.fill === 'tonexty')"
        ".map(trace => [trace.mode, [...trace.y]])"
    )
    groups = risk_groups(pd.read_parquet(folder.predictions_path("cesc", "blca")))
    event, time_ = groups["event"].to_numpy(bool), groups["time"].to_numpy(float)
    for (name, x, y, shape), (mode, band), high in zip(drawn, upper, (True, False), strict=True):
        part = groups["high"].to_numpy() == high
        times, survival, (_, above) = kaplan_meier_estimator(event[part], time_[part], conf_type="log-log")
        last = np.searchsorted(np.asarray(x) * 365.25, times + 0.01, side="right") - 1
        assert name.startswith("high risk" if high else "low risk")
        assert shape == "hv"
        np.testing.assert_allclose(np.asarray(y)[last], survival, atol=5e-4)
        assert mode == "lines", "what is filled between lines that are not drawn is not drawn either"
        np.testing.assert_allclose(np.asarray(band)[last], above, atol=6e-3)
    _, p_value = compare_survival(Surv.from_arrays(event, time_), groups["high"].to_numpy())
    expected = "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}" if p_value < 0.095 else f"= {p_value:.2f}"
    assert f"Log-rank p {expected}" in text(page, "#curves-note")
    difference = stored(folder, "cesc", "blca")["difference_random"]
    assert f"{difference:+.3f}".replace("-", "\N{MINUS SIGN}") in text(page, "#baselines-table")
    dots = page.execute_script("return document.getElementById('folds-plot').data[0].y.length")
    assert dots == stored(folder, "cesc", "blca")["folds_used"]
    page.find_element("id", "reverse-pair").click()
    assert text(page, "#pair-title") == "BLCA → CESC"
    page.find_element("id", "close-pair").click()
    assert page.execute_script("return [document.getElementById('pair').open, location.hash]") == [False, ""]


def test_keyboard_walks_the_matrix_and_opens_a_pair(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('[name=numbers]').focus()")
    press(page, Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "matrix-holder"
    press(page, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    source, target = order(page)[0], order(page, "xaxis")[2]
    assert text(page, "#readout").startswith(f"{source.upper()} on {target.upper()}")
    until(lambda: f"{source.upper()} on {target.upper()}" in text(page, ".hoverlayer"))
    assert page.execute_script("return document.getElementById('cursor').checkVisibility()")
    for key in (Keys.ENTER, Keys.SPACE):
        press(page, key)
        assert page.execute_script("return document.getElementById('pair').open")
        assert text(page, "#pair-title") == f"{source.upper()} → {target.upper()}"
        press(page, Keys.ESCAPE)
        until(lambda: not page.execute_script("return document.getElementById('pair').open"))
        assert page.switch_to.active_element.get_attribute("id") == "matrix-holder"
    press(page, Keys.END)
    assert f"on {order(page, 'xaxis')[-1].upper()}" in text(page, "#readout")


def test_sorting_and_switching_move_and_change_the_numbers(page: Any, folder: ResultsFolder) -> None:
    grid = "return document.getElementById('matrix-plot').data[0].z.map(row => [...row])"
    before = order(page)
    for value in ("group", "cluster"):
        page.find_element("css selector", f"[name=order][value={value}]").click()
        rows, columns = order(page), order(page, "xaxis")
        assert sorted(rows) == sorted(columns) == sorted(before)
        shown = page.execute_script(grid)[rows.index("blca")][columns.index("sarc")]
        assert shown == pytest.approx(stored(folder, "blca", "sarc")["c_index_pooled"], abs=5e-4)
    page.find_element("css selector", "[name=order][value=group]").click()
    assert order(page) != before
    page.find_element("css selector", "[name=measure][value=c_index_mean]").click()
    shown = page.execute_script(grid)[order(page).index("blca")][order(page, "xaxis").index("sarc")]
    assert shown == pytest.approx(stored(folder, "blca", "sarc")["c_index_mean"], abs=5e-4)
    unknown = [row[order(page, "xaxis").index("dlbc")] for row in page.execute_script(grid)]
    assert unknown == [None] * len(CODES)


def test_target_shows_sources_choice_and_baselines_best_first(page: Any, folder: ResultsFolder) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("css selector", "#choose-target select")).select_by_value("cesc")
    rows = page.execute_script(
        "return document.getElementById('target-plot').rows.map(row => [row.label.trim(), row.value, row.kind])"
    )
    labels = [label for label, _, _ in rows]
    assert {"own model", "mean features, Cox", "random weights", "patch count", "chance"} <= set(labels)
    assert any(label.startswith("honest choice: ") for label in labels)
    assert any(label.startswith("oracle choice") for label in labels)
    sources = [value for label, value, _ in rows if label.split()[-1].lower() in CODES and ":" not in label]
    assert sources == sorted(sources, reverse=True)
    assert len(sources) == sum(stored(folder, code, "cesc")["status"] == "ok" for code in CODES if code != "cesc")
    page.find_element("id", "next-target").click()
    assert page.execute_script("return document.querySelector('#choose-target select').value") != "cesc"
    page.execute_script("location.hash = '#target=sarc'")
    until(lambda: text(page, "#target-summary").startswith("SARC, sarcoma"))


def test_address_opens_the_pair(browser: Any, folder: ResultsFolder) -> None:
    browser.get("about:blank")
    browser.get((folder.out / "report.html").as_uri() + "#pair=sarc,ucec")
    until(lambda: browser.execute_script("return document.getElementById('pair').open"))
    assert text(browser, "#pair-title") == "SARC → UCEC"


def test_the_section_of_an_analysis_is_reached_and_its_picture_shown(page: Any) -> None:
    link = page.find_element("css selector", "nav a[href='#factors']")
    assert link.text == "Factors"
    page.execute_script("arguments[0].focus()", link)
    press(page, "\ue007")  # Enter
    top = "return document.getElementById('factors-title').getBoundingClientRect().top"
    until(lambda: 0 <= page.execute_script(top) < 200)
    assert page.execute_script("return document.querySelector('#factors img').naturalWidth") == WIDEST


def test_a_narrow_screen_moves_pictures_not_the_page(page: Any, folder: ResultsFolder) -> None:
    narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    try:
        open_report(page, folder.out / "report.html")
        whole = page.execute_script("return document.documentElement.scrollWidth")
        picture = page.execute_script("return document.querySelector('#factors img').clientWidth")
        answers = page.execute_script(
            "return [...document.querySelectorAll('.picks td')].map((cell) => cell.getBoundingClientRect().right)"
        )
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert whole <= 400 < picture
    assert answers
    assert max(answers) <= 400, "which source for which cohort is read without moving anything"


DARK = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}


def test_in_the_dark_the_page_and_its_pictures_are_dark_and_paper_stays_white(page: Any) -> None:
    shades = """
        const lightness = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + part / 765, 0);
        const text = document.querySelector("#target-plot .ytick text");
        return [lightness(getComputedStyle(document.body).backgroundColor), lightness(getComputedStyle(text).fill)];
    """
    background, writing = page.execute_script(shades)
    assert background > 0.9
    assert writing < 0.3
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", DARK)
    try:
        until(lambda: page.execute_script(shades)[1] > 0.7)
        assert page.execute_script(shades)[0] < 0.2
        page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
        until(lambda: page.execute_script(shades)[1] < 0.3)
        assert page.execute_script(shades)[0] > 0.9
        page.execute_script("window.dispatchEvent(new Event('afterprint'))")
        until(lambda: page.execute_script(shades)[1] > 0.7)
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Any, folder: ResultsFolder, scheme: str) -> None:
    from selenium_axe_python import Axe

    shown = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", shown)
    try:
        open_report(page, folder.out / "report.html")
        page.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        axe = Axe(page)
        axe.inject()
        found = axe.run()["violations"]
        page.execute_script("openPair(0, 1)")
        found += axe.run()["violations"]
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        page.execute_script("document.getElementById('pair').close()")
    serious = [
        (one["id"], one["impact"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_pair_says_in_words_what_its_curves_show(page: Any, folder: ResultsFolder) -> None:
    page.execute_script("openPair(cohortNumber('cesc'), cohortNumber('blca'))")
    groups = risk_groups(pd.read_parquet(folder.predictions_path("cesc", "blca")))
    found = log_rank(groups["time"].to_numpy(float), groups["event"].to_numpy(bool), groups["high"].to_numpy())
    assert f"predicted at high risk had the event {found.ratio:.2f} times as often" in text(page, "#curves-words")
    bands = "return document.getElementById('curves-plot').data.filter((trace) => trace.fill === 'tonexty').length"
    assert page.execute_script(bands) == 2
    page.find_element("id", "close-pair").click()


def test_tables_are_saved_as_csv(page: Any, folder: ResultsFolder, tmp_path: Path) -> None:
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.execute_script("document.querySelector('[data-table=pairs]').click()")
    until((tmp_path / "pairs.csv").is_file)
    saved, pairs = pd.read_csv(tmp_path / "pairs.csv"), pd.read_parquet(folder.out / "pairs.parquet")
    np.testing.assert_allclose(saved["c_index_pooled"], pairs["c_index_pooled"], rtol=1e-5)
    assert list(saved["verdict"].fillna("")) == list(pairs["verdict"].fillna(""))


def test_prints_on_paper_that_holds_the_matrix(page: Any) -> None:
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    widths = """
        const plots = [...document.querySelectorAll(".js-plotly-plot")];
        return plots.map(plot => plot.querySelector(".main-svg").clientWidth);
    """
    assert max(page.execute_script(widths)) <= 688  # A4 less its margins at 96 dots an inch
    page.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert max(page.execute_script(widths)) > 900


def test_report_is_small_and_opens_quickly(browser: Any, folder: ResultsFolder) -> None:
    path = Path(os.environ.get("CROPKT_REPORT", folder.out / "report.html"))
    browser.get("about:blank")
    seconds = []
    for _ in range(3):
        before = processor_seconds(browser)
        wall = open_report(browser, path)
        seconds.append(processor_seconds(browser) - before)
        print(f"\n{path}: drawn after {wall:.2f} s, {seconds[-1]:.2f} s of processor time")
    assert path.stat().st_size < 3e6
    assert min(seconds) < 2


def processor_seconds(browser: Any) -> float:
    """Processor time of the page's process since it was started."""
    browser.execute_cdp_cmd("Performance.enable", {})
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "ProcessTime"))
