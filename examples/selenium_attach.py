"""Selenium 4 attaches to a session's browser. Set GLASSHOUSE_SERVER and GLASSHOUSE_TOKEN; chromedriver has to be of the browser's version.

chromedriver attaches to an address of this machine only, without a path or a token: `debugger_address` is one that leads to the session.
"""

import shutil
import sys

import glasshouse
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

url = sys.argv[1] if len(sys.argv) > 1 else "https://example.com"
with glasshouse.Client() as client, client.create(url=url) as session:
    with glasshouse.debugger_address(session.cdp()["url"]) as address:
        options = webdriver.ChromeOptions()
        options.debugger_address = address
        driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            first = driver.title
            print(first)
            driver.find_element(By.TAG_NAME, "a").click()
            WebDriverWait(driver, 30).until(lambda driver: driver.title != first)
            print(driver.title)
            # What WebDriver has not, the DevTools protocol has.
            print(driver.execute_cdp_cmd("Browser.getVersion", {})["product"])
        finally:
            driver.quit()
