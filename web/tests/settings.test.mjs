import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { market, page, scanner, Server } from "./support.mjs";

const folder = market();
const server = await Server.start(folder);
const configured = (key) => scanner(folder, "-q", "config", "-t", "gap", "--key", key).trim();

test("a setting that is saved here is the command's, acts in forms at once, and can be undone", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/settings?part=gap`);
  const field = tab.getByLabel("Min price", { exact: true });
  assert.equal(await field.inputValue(), configured("min_price"));
  await field.fill("120");
  await field.blur();
  await tab.getByRole("button", { name: "Save" }).click();
  await tab.getByText("Saved.", { exact: true }).waitFor();
  assert.equal(configured("min_price"), "120");
  assert.deepEqual(JSON.parse(readFileSync(join(folder, "scanner_config.json"), "utf8")).gap, { min_price: 120 });
  await tab.getByRole("link", { name: "Scan", exact: true }).click();
  await tab.getByLabel("Scanner").selectOption("gap");
  assert.equal(await tab.getByLabel("Min price", { exact: true }).inputValue(), "120");
  await tab.goBack();
  await tab.goto(`${server.root}/#/settings?part=gap`);
  await tab.getByRole("button", { name: "Take Min price out of scanner_config.json" }).click();
  await tab.getByText("Taken out.", { exact: true }).waitFor();
  assert.equal(configured("min_price"), "50");
  await tab.getByRole("button", { name: "Undo" }).click();
  await tab.getByText("As it was before.", { exact: true }).waitFor();
  assert.equal(configured("min_price"), "120");
});

test("what cannot be is refused in the server's words, and nothing is changed", async () => {
  const tab = await page({ ...server, root: server.root, allowed: [/400 \(Bad Request\)/] });
  await tab.goto(`${server.root}/#/settings?part=api`);
  const field = tab.getByLabel("Port", { exact: true });
  await field.fill("70000");
  await field.blur();
  await tab.getByRole("button", { name: "Save" }).click();
  await tab.getByText(/api\.port is 70000; expected a whole number from 1 to 65535/).waitFor();
  assert.equal(scanner(folder, "-q", "config", "--key", "api.port").trim(), "8000");
  await field.fill("9000");
  await field.blur();
  await tab.getByRole("button", { name: "Save" }).click();
  await tab.getByText("It holds after the server is started again.").waitFor();
});

test("what the command changes is here when one comes back", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/settings?part=crp`);
  await tab.getByLabel("Min volume", { exact: true }).waitFor();
  scanner(folder, "-q", "config", "-t", "crp", "--key", "min_volume", "--value", "77000");
  // The server looks at its files once a second at most.
  await new Promise((wait) => setTimeout(wait, 1200));
  await tab.evaluate(() => dispatchEvent(new Event("focus")));
  await tab.waitForFunction(() => [...document.querySelectorAll("input")].some((input) => input.value === "77000"));
});

test("what the configuration says of the dashboard is so", async () => {
  const own = market();
  const dashboard = { theme: "light", default_scanner: "gap", enable_export: false, dashboard_layout: "centered", max_chart_points: 500, auto_refresh_interval: 1 };
  writeFileSync(join(own, "scanner_config.json"), JSON.stringify({ dashboard, streaming: { auto_refresh_ui: false } }));
  const configured = await Server.start(own);
  const tab = await page({ root: configured.root, theme: "", size: [1800, 900], allowed: [/ERR_CONNECTION_REFUSED/] });
  await tab.emulateMedia({ colorScheme: "dark" });
  const asked = [];
  tab.on("request", (request) => request.url().includes("/bars/") && asked.push(request.url()));
  await tab.goto(`${configured.root}/#/scan?date=2025-01-14&p.min_gap_pct=0.5`);
  await tab.getByRole("heading", { name: "Gap", exact: true }).waitFor();
  await tab.getByRole("img", { name: /Candles of/ }).waitFor();
  assert.equal(await tab.evaluate(() => document.documentElement.dataset.theme), "light");
  assert.match(asked[0], /limit=500(&|$)/);
  assert.equal(await tab.getByRole("button", { name: "Export" }).count(), 0);
  const { x, width } = await tab.locator("main").boundingBox();
  assert.ok(x > 100 && Math.abs(1800 - width - 2 * x) < 20, `in the middle: ${x}, ${width}`);

  await tab.goto(`${configured.root}/#/history`);
  await tab.getByRole("region", { name: "Scans" }).or(tab.getByRole("table")).first().waitFor();
  await configured.ask("/scan", { scanner_type: "crp", scan_date: "2025-01-10" });
  await tab.getByText("2025-01-10").first().waitFor();

  let tell;
  const update = (minute, symbol) => ({ type: "scan_update", subscription_id: "1", data_as_of: `2025-01-15T10:${minute}:00`, results: [{ scan_date: "2025-01-15", symbol, price: 100, rank: 1 }], added: [symbol], removed: [] });
  await tab.routeWebSocket(/live-scan/, (socket) => {
    tell = (message) => socket.send(JSON.stringify(message));
    socket.onMessage((text) => {
      if (JSON.parse(text).type !== "subscribe") return;
      tell({ type: "subscribed", subscription_id: "1", interval_seconds: 1 });
      tell(update("00", "DEMO0001"));
    });
  });
  await tab.goto(`${configured.root}/#/live?on=1`);
  const hits = tab.getByRole("region", { name: "Hits" });
  await hits.getByText("DEMO0001").waitFor();
  tell(update("05", "DEMO0002"));
  await tab.getByRole("button", { name: "Show 10:05" }).waitFor();
  assert.equal(await hits.getByText("DEMO0002").count(), 0, "not before it is wanted");
  await tab.getByRole("button", { name: "Show 10:05" }).click();
  await hits.getByText("DEMO0002").waitFor();
  await configured.stop();
});
