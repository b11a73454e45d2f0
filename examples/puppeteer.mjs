// Puppeteer needs one URL and nothing of ours: the server makes a session for the connection, and ends it with it.
import puppeteer from 'puppeteer-core';

const server = process.env.GLASSHOUSE_SERVER ?? 'http://127.0.0.1:8080';
const query = new URLSearchParams({ token: process.env.GLASSHOUSE_TOKEN, url: process.argv[2] ?? 'https://example.com' });
const browser = await puppeteer.connect({ browserWSEndpoint: `${server.replace(/^http/, 'ws').replace(/\/$/, '')}/cdp?${query}`, defaultViewport: null });
try {
  const [page] = await browser.pages();
  await page.waitForSelector('a');
  console.log(await page.title());
  await Promise.all([page.waitForNavigation(), page.click('a')]);
  console.log(await page.title());
} finally {
  await browser.disconnect();
}
