/**
 * How fast the dashboard is, in a real browser: `node web/bench.mjs http://127.0.0.1:8000`, a server with many bars. Prints a JSON object; what its
 * members mean says bench/README.md.
 */

import { chromium } from "playwright-core";

const [root] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.STOCKSCAN_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--js-flags=--expose-gc"],
});
const figures = {};

async function opened() {
  const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  page.setDefaultTimeout(120_000);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  const busy = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return metrics.find((metric) => metric.name === "TaskDuration").value * 1000;
  };
  return { page, devtools, busy };
}

/** Milliseconds between the frames of the page while `step` is called in each. */
const frames = (page, steps, step) =>
  page.evaluate(
    async ([count, text]) => {
      const act = new Function("index", text);
      const found = [];
      let last = await new Promise(requestAnimationFrame);
      for (let index = 0; index < count; index += 1) {
        act(index);
        const now = await new Promise(requestAnimationFrame);
        found.push(now - last);
        last = now;
      }
      return found;
    },
    [steps, step],
  );
const dropped = (found) => found.filter((milliseconds) => milliseconds > 25).length;
const percentile = (found, share) => found.toSorted((one, other) => one - other)[Math.min(found.length - 1, Math.floor(found.length * share))];

// The first load: what comes over the wire until the scan is shown, but for the answers of the interface.
{
  const { page, devtools } = await opened();
  await devtools.send("Network.enable");
  const urls = new Map();
  let bytes = 0;
  devtools.on("Network.responseReceived", ({ requestId, response }) => urls.set(requestId, response.url));
  devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (!urls.get(requestId)?.includes("/api/")) bytes += encodedDataLength;
  });
  const begin = Date.now();
  await page.goto(`${root}/`);
  await page.getByRole("img", { name: /Candles of/ }).waitFor();
  figures.first_load_ms = Date.now() - begin;
  await page.waitForLoadState("networkidle");
  figures.first_load_kb = bytes / 1000;
  await page.close();
}

// A table of 5,000 rows and more.
{
  const { page } = await opened();
  const sessions = await (await fetch(`${root}/api/v1/scanner/sessions?limit=40`)).json();
  const [last, first] = [sessions[0].session_date, sessions.at(-1).session_date];
  const wide = "p.max_results_per_day=10000&p.min_relative_volume=0&p.min_avg_volume=0&p.min_volume=0&p.min_price=0&p.max_price=1000000&p.min_probability_score=0&p.min_bars=1";
  await page.goto(`${root}/#/scan?scanner=relative_volume&date=${first}&end=${last}&${wide}`);
  const table = page.getByRole("region", { name: "Hits" });
  await table.locator("tbody tr").first().waitFor();
  await page.waitForLoadState("networkidle");
  figures.table_rows = Number(await table.locator("table").getAttribute("aria-rowcount")) - 1;
  const found = await frames(page, 240, "document.querySelector('[aria-label=Hits]').scrollTop += 120");
  figures.table_frames_dropped = dropped(found);
  figures.table_frame_p95_ms = percentile(found, 0.95);
  await page.close();
}

// A chart of 50,000 bars, panned.
{
  const { page } = await opened();
  const bars = Array.from({ length: 50_000 }, (_, index) => {
    const close = 100 + 10 * Math.sin(index / 900) + Math.sin(index / 7);
    return { symbol: "A", ts: new Date(Date.UTC(2024, 0, 1) + index * 60_000).toISOString().slice(0, 19), open: close - 0.1, high: close + 0.3, low: close - 0.4, close, volume: 1000 + (index % 97) };
  });
  await page.route("**/bars/A?*", (route) => route.fulfill({ json: bars }));
  await page.goto(`${root}/#/chart?symbol=A&date=2024-02-04&cutoff=17:20`);
  const chart = page.getByRole("img", { name: /50000 bars/ });
  await chart.waitFor();
  await chart.focus();
  const found = await frames(page, 240, "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true, cancelable: true }))");
  figures.chart_frames_dropped = dropped(found);
  figures.chart_frame_p95_ms = percentile(found, 0.95);
  await page.close();
}

// Live: 1,000 ticks in which all of 500 rows change.
{
  const { page, devtools, busy } = await opened();
  let tell;
  const subscribed = new Promise((done) => {
    void page.routeWebSocket(/live-scan/, (socket) => {
      tell = (message) => socket.send(JSON.stringify({ timestamp: new Date().toISOString(), ...message }));
      socket.onMessage((text) => {
        const { type } = JSON.parse(text);
        if (type !== "subscribe") return;
        tell({ type: "subscribed", subscription_id: "1", scanner_type: "breakout", interval_seconds: 1 });
        done();
      });
    });
  });
  await page.route("**/bars/**", (route) => route.fulfill({ json: [] }));
  await page.goto(`${root}/#/live?on=1`);
  await subscribed;
  let known = [];
  const tick = (index) => {
    const results = Array.from({ length: 500 }, (_, at) => ({ scan_date: "2025-01-15", symbol: `S${at + (index % 50)}`, price: 100 + at + index / 7, resistance: 99, support: 90, breakout_pct: (at * 7 + index) % 13, volume_ratio: 2 + ((at + index) % 5), change_pct: ((at + index) % 9) - 4, volume: 10_000 + index * at, probability_score: (at + index) % 100, rank: at + 1 }));
    const names = results.map((row) => row.symbol);
    const minute = 20 + (index % 300);
    tell({
      type: "scan_update",
      subscription_id: "1",
      scanner_type: "breakout",
      data_as_of: `2025-01-15T${String(9 + Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}:00`,
      results,
      added: names.filter((name) => !known.includes(name)),
      removed: known.filter((name) => !names.includes(name)),
    });
    known = names;
  };
  const heap = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    return (await devtools.send("Runtime.getHeapUsage")).usedSize / 1e6;
  };
  const painted = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
  tick(0);
  await page.getByText("S499", { exact: true }).or(page.getByText("S0", { exact: true })).first().waitFor();
  const costs = [];
  for (let index = 1; index <= 1000; index += 1) {
    const before = await busy();
    tick(index);
    await painted();
    costs.push((await busy()) - before);
    if (index === 100) figures.heap_after_100_ticks_mb = await heap();
  }
  figures.heap_after_1000_ticks_mb = await heap();
  figures.tick_p50_ms = percentile(costs, 0.5);
  figures.tick_p95_ms = percentile(costs, 0.95);
  await page.close();
}

await browser.close();
console.log(JSON.stringify(figures));
