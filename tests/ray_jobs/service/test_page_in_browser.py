"""The page in a real Chromium: a fusion end to end, by mouse and by keys, wide and narrow, and no word on the console."""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from ray_jobs.service.work_queue import Limits
from tests.ray_jobs.service.http_client import KEY
from tests.ray_jobs.service.local_serving import door_settings, serving
from tests.ray_jobs.service.stub_engine import StubLoader
from tests.ray_jobs.service.stub_fusion import StubFusionLoader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("PANGU_SCREENSHOTS")
"""A folder to leave pictures of the page in, for people to look at."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
    ):
        options.add_argument(argument)
    options.add_argument("--disable-component-update")
    options.add_argument("--no-first-run")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")
    with serving(StubLoader(alias), Limits(), door_settings(), fusion_loader=StubFusionLoader()) as service:
        browser.get(f"http://127.0.0.1:{service.port}/")
        yield browser


def until(browser, condition):
    return WebDriverWait(browser, 60, 0.05).until(lambda _: condition())


def find(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def one(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def leave_picture(browser, name, width, height):
    browser.set_window_size(width, height)
    fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.execute_script(fits), f"{name}: it scrolls sideways"
    if SCREENSHOTS:
        tall = browser.execute_script("return document.documentElement.scrollHeight")
        browser.set_window_size(width, max(height, tall + 120))
        browser.save_screenshot(f"{SCREENSHOTS}/{name}.png")
        browser.set_window_size(width, height)


def colour_of(browser, number=0):
    """The middle pixel of a picture, as the browser sees it."""
    return browser.execute_script(
        "const image = document.querySelectorAll('.pictures .card > img')[arguments[0]];"
        "const canvas = new OffscreenCanvas(1, 1), paint = canvas.getContext('2d');"
        "paint.drawImage(image, 0, 0, 1, 1); return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3)",
        number,
    )


def finish(browser, count=1):
    until(browser, lambda: len(find(browser, ".card[data-done]")) == count)
    until(browser, lambda: one(browser, "#status").text.startswith("Done"))


def test_a_key_is_asked_for_and_then_a_fusion_is_drawn(page):
    leave_picture(page, "wide_locked", 1280, 900)
    until(page, lambda: one(page, "#served").text == "An API key is needed")
    one(page, "#key").send_keys(KEY, Keys.TAB)
    until(page, lambda: len(find(page, ".member")) == 2)
    assert one(page, "#served").text == "Serving experts@one"
    first, second = find(page, ".member textarea")
    first.clear()
    first.send_keys("red")
    second.clear()
    second.send_keys("蓝色的墙")
    page.find_elements(By.CSS_SELECTOR, ".member select")[1].send_keys("painter")
    one(page, "#draw").click()
    finish(page)
    assert len(find(page, ".film img")) == 5, "previews came on the way"
    red, _, blue = colour_of(page)
    assert red > 180 and blue < 80, "the second member faded before the end"
    leave_picture(page, "wide", 1280, 900)


def test_the_curve_is_moved_by_keys_and_decides_the_picture(page):
    for _ in range(20):
        page.find_elements(By.CSS_SELECTOR, ".member:nth-child(2) [role=slider]")[0].send_keys(Keys.ARROW_UP)
        page.find_elements(By.CSS_SELECTOR, ".member:nth-child(2) [role=slider]")[1].send_keys(Keys.ARROW_UP)
    moved = find(page, ".member:nth-child(2) [role=slider]")
    assert [point.get_attribute("aria-valuenow") for point in moved] == ["1", "1"]
    one(page, "#draw").click()
    finish(page)
    red, _, blue = colour_of(page)
    assert blue > 240 and red < 10


def test_values_of_d_stand_side_by_side(page):
    one(page, "#values").clear()
    one(page, "#values").send_keys("0, 0.5, 1")
    one(page, "#compare").click()
    finish(page, 3)
    blues = [colour_of(page, number)[2] for number in range(3)]
    assert blues == sorted(blues) and blues[0] < 10 and blues[2] > 240
    assert [card.text for card in find(page, ".pictures figcaption b")] == ["d = 0", "d = 0.5", "d = 1"]
    leave_picture(page, "wide_compare", 1280, 900)
    leave_picture(page, "phone_compare", 390, 844)
    page.set_window_size(1280, 900)


def test_a_drawn_condition_goes_along_and_the_code_says_so(page):
    page.find_elements(By.CSS_SELECTOR, ".member select")[1].send_keys("tracer")
    canvas = until(page, lambda: one(page, ".member canvas"))
    stroke = webdriver.ActionChains(page).move_to_element_with_offset(canvas, -40, -40).click_and_hold()
    stroke.move_by_offset(60, 60).move_by_offset(-60, 0).release().perform()
    one(page, "#code summary").click()
    curl, python = one(page, "#curl").text, one(page, "#python").text
    assert (
        "upload:picture0" in curl
        and "-F picture0=@picture0.png" in curl
        and "$PANGU_API_KEY" in curl
        and KEY not in curl
    )
    compile(python, "copied", "exec")
    assert one(page, "#files a").get_attribute("download") == "picture0.png"
    assert "detect" not in curl
    one(page, ".condition .check:not(.tools *)").click()
    assert '"detect": true' in one(page, "#curl").text and '"detect": True' in one(page, "#python").text
    one(page, "#draw").click()
    finish(page)
    leave_picture(page, "wide_condition", 1280, 900)
    leave_picture(page, "phone", 390, 844)
    page.set_window_size(1280, 900)


def test_what_is_refused_is_said(page):
    size = one(page, "#steps")
    size.clear()
    size.send_keys("12")
    name = page.find_elements(By.CSS_SELECTOR, ".member textarea")[0]
    name.clear()
    page.execute_script("document.querySelector('#values').value = 'many'")
    one(page, "#compare").click()
    assert "numbers from 0 to 1" in one(page, "#status").text


def test_everything_is_reached_by_keyboard(page):
    page.execute_script("document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        webdriver.ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(
            page.execute_script("const e = document.activeElement; return e.id || e.getAttribute('role') || e.tagName")
        )
    assert {
        "draw",
        "compare",
        "steps",
        "seed",
        "size",
        "slider",
        "TEXTAREA",
        "SELECT",
        "CANVAS",
        "copy-curl",
        "add",
    } <= reached


def test_the_console_stays_silent(page):
    heard = [entry["message"] for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert [line for line in heard if "401" not in line] == [], "but for the key that was asked for at first"
