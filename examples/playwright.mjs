// Playwright drives a session that anybody with its link can watch. Set GLASSHOUSE_SERVER and GLASSHOUSE_TOKEN.
import { launch } from 'glasshouse';

const { page, session, close } = await launch({ url: process.argv[2] ?? 'https://example.com' });
try {
  const { url } = await session.share({ powers: ['view'] });
  console.log('watch it:', url);
  await page.waitForLoadState();
  console.log(await page.title());
  await Promise.all([page.waitForEvent('domcontentloaded'), page.locator('a').first().click()]);
  console.log(await page.title());
} finally {
  await close();
}
