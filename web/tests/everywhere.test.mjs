/** What holds for every tab. */

import { AxeBuilder } from "@axe-core/playwright";
import assert from "node:assert/strict";
import { test } from "node:test";
import { market, page, scanner, Server } from "./support.mjs";

const TABS = ["live", "scan", "chart", "performance", "backtest", "optimize", "history", "market", "settings"];
const folder = market();
const server = await Server.start(folder);
await server.ask("/scan", { scanner_type: "breakout", scan_date: "2025-01-15" });

/** Until nothing is loading any more. */
async function settled(tab) {
  await tab.locator("main h1, main h2").first().waitFor();
  await tab.waitForLoadState("networkidle");
}

for (const name of TABS) {
  for (const [theme, size] of [
    ["dark", [1440, 900]],
    ["light", [1440, 900]],
    ["light", [390, 844]],
  ]) {
    test(`${name}, ${theme}, ${size[0]} px wide: no serious finding of axe, and nothing wider than the page`, async () => {
      const tab = await page({ root: server.root, theme, size });
      await tab.goto(`${server.root}/#/${name}`);
      await settled(tab);
      const { violations } = await new AxeBuilder({ page: tab }).analyze();
      const serious = violations.filter((violation) => ["serious", "critical"].includes(violation.impact));
      assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join("; ")}`), []);
      const [wide, seen] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(wide <= seen, `${wide} px in ${seen}`);
    });
  }
}

test("tabs are links, and one comes back to a tab as one left it", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=gap&date=2025-01-14`);
  for (const name of TABS) {
    await tab.getByRole("navigation", { name: "Tabs" }).getByRole("link", { name: new RegExp(`^${name}$`, "i") }).click();
    await tab.waitForURL(new RegExp(`#/${name}`));
    assert.equal((await tab.locator("nav a[aria-current=page]").innerText()).toLowerCase(), name);
  }
  await tab.getByRole("link", { name: "Scan", exact: true }).click();
  await tab.waitForURL(/scanner=gap/);
  await tab.goBack();
  await tab.waitForURL(/#\/settings/);
});

test("a server that is gone is said, and asked again", async () => {
  const own = await Server.start(market());
  const tab = await page({ root: own.root, allowed: [/ERR_CONNECTION_REFUSED/, /Failed to fetch/, /error loading dynamically imported module/i] });
  await tab.goto(`${own.root}/#/scan?scanner=breakout&date=2025-01-15`);
  await tab.getByRole("region", { name: "Hits" }).locator("tbody tr").first().waitFor();
  await own.stop();
  await tab.getByLabel("Session: the session before").click();
  await tab.getByRole("alert").filter({ hasText: "cannot be reached" }).waitFor();
  assert.equal(await tab.getByRole("region", { name: "Hits" }).count(), 0, "no rows of before that pass for an answer");
  const again = await Server.start(own.folder, "--port", String(own.port));
  await tab.getByRole("button", { name: "Try again" }).click();
  await tab.getByRole("region", { name: "Hits" }).waitFor();
  await again.stop();
});

test("a server with keys asks for one, keeps it in the browser, and says when it is wrong", async () => {
  const own = market();
  const key = scanner(own, "-q", "key", "add", "me", "--role", "read").trim().split("\n").at(-1).trim();
  const guarded = await Server.start(own);
  const tab = await page({ root: guarded.root, allowed: [/401 \(Unauthorized\)/] });
  await tab.goto(`${guarded.root}/`);
  const dialog = tab.getByRole("dialog", { name: "Key" });
  await dialog.waitFor();
  await dialog.getByLabel("Key").fill("wrong");
  await dialog.getByRole("button", { name: "Use it" }).click();
  await dialog.getByText("not one of this server's").waitFor();
  await dialog.getByLabel("Key").fill(key);
  await dialog.getByRole("button", { name: "Use it" }).click();
  await tab.getByRole("region", { name: "Hits" }).waitFor();
  assert.ok(!tab.url().includes(key));
  await tab.reload();
  await tab.getByRole("region", { name: "Hits" }).waitFor();
  await guarded.stop();
});

test("the theme is the system's until one is chosen", async () => {
  const tab = await page({ root: server.root, theme: "" });
  await tab.emulateMedia({ colorScheme: "light" });
  await tab.goto(`${server.root}/#/scan`);
  const theme = () => tab.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "light");
  await tab.emulateMedia({ colorScheme: "dark" });
  await tab.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  await tab.getByLabel("Colours").selectOption("light");
  assert.equal(await theme(), "light");
  await tab.reload();
  assert.equal(await theme(), "light");
});
