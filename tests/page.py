#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The page of ./run report in a browser, without network: page.py PAGE.html SCREENSHOTS, a directory that is there.

It has no error, its table can be filtered and sorted, and it can be read on dark and light screens, and narrow ones.
"""
import pathlib
import re
import sys

from selenium import webdriver
from selenium.webdriver.common.by import By
from tap import check, finish

page, screenshots = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
text = page.read_text(encoding="utf-8")
links = re.findall(r'(?:src|href)\s*=\s*"?(?!#)([^\s">]+)', text)
check(not links, "the page needs nothing else", f"it names {links[:3]}")
ids = re.findall(r'\bid="?([^\s">]+)', text)
check(len(ids) == len(set(ids)), "names of elements are their own", "some are there twice")

options = webdriver.ChromeOptions()
for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--window-size=1100,900"):
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
browser = webdriver.Chrome(options=options)
browser.get(page.as_uri())


def visible():
    return browser.execute_script("""return [...document.querySelectorAll("#rows tbody tr:not([hidden])")].map(
        row => [...row.cells].map(cell => cell.textContent));""")


def type_filter(words):
    box = browser.find_element(By.ID, "filter")
    box.clear()
    box.send_keys(words)


def of_body(property):
    return browser.execute_script(f"return getComputedStyle(document.body)['{property}']")


check(browser.find_element(By.TAG_NAME, "h1").text.startswith("On the batch norms of ResNet-50"), "a sentence says it all")
charts = browser.find_elements(By.CSS_SELECTOR, "div.chart")
check(len(charts) >= 7 and all(chart.find_elements(By.TAG_NAME, "svg") for chart in charts), "there are charts",
      f"there are {len(charts)}")
everything = visible()
check(len(everything) > 100, "all rows are there at first", f"there are {len(everything)}")
type_filter("BACKWARD nhwc -naive")
some = visible()
check(0 < len(some) < len(everything) and all(row[0].startswith("backward") and row[1] == "nhwc" and row[4] != "naive" for row in some),
      "the filter filters", f"it leaves {len(some)}, such as {some[:1]}")
check(browser.find_element(By.ID, "count").text == f"{len(some)} of {len(everything)} rows", "it says how many are left")
speed = next(b for b in browser.find_elements(By.CSS_SELECTOR, "th button") if b.text == "GB/s")
for direction, reverse in (("descending", True), ("ascending", False)):
    speed.click()
    column = [float(row[7]) for row in visible()]
    check(column == sorted(column, reverse=reverse), f"numbers are sorted, {direction}", f"they begin {column[:4]}")
    check(speed.find_element(By.XPATH, "..").get_attribute("aria-sort") == direction, f"a reader is told so, {direction}")
type_filter("no such words")
check(not visible(), "nothing is a result, too")
type_filter("")

colours = {}
for scheme in ("light", "dark"):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    colours[scheme] = [sum(map(int, re.findall(r"\d+", of_body(name))[:3])) for name in ("color", "backgroundColor")]
    browser.save_screenshot(str(screenshots / f"page-{scheme}.png"))
check(colours["light"][0] + 400 < colours["light"][1] and colours["dark"][1] + 400 < colours["dark"][0],
      "both schemes can be read", str(colours))
browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 800, "deviceScaleFactor": 2, "mobile": True})
width = browser.execute_script("return document.scrollingElement.scrollWidth")
check(width <= 360, "a phone needs no sideways scrolling", f"the page is {width} wide")
browser.save_screenshot(str(screenshots / "page-narrow.png"))
log = browser.get_log("browser")
check(not log, "the browser has nothing to complain about", str(log[:2]))
browser.quit()
finish()
