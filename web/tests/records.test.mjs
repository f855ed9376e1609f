/** The tabs of what was and of what is there: history, market, performance. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { column, market, page, scanner, Server } from "./support.mjs";

const folder = market();
/** The same market, which no server holds. */
const beside = market();

// A scanner that fails while it runs.
scanner(folder, "new", "failing");
const file = join(folder, "scanners", "scan_failing.sql");
const written = readFileSync(file, "utf8");
const working = "100 * (sessions.price / sessions.open - 1) AS change_pct";
assert.ok(written.includes(working));
writeFileSync(file, written.replace(working, "CASE WHEN sessions.price > 0 THEN error('no prices')::DOUBLE ELSE 0 END AS change_pct"));

const server = await Server.start(folder, "--scanners-directory", "scanners");
const ASKED = { scanner_type: "relative_volume", scan_date: "2025-01-15", cutoff_time: "10:30", config: { max_results_per_day: 7, min_relative_volume: 1.2 } };
const scanned = await server.ask("/scan", ASKED);
await server.ask("/scan", { scanner_type: "gap", start_date: "2025-01-06", end_date: "2025-01-15" });
const failed = await fetch(`${server.root}/api/v1/scanner/scan`, {
  method: "POST",
  body: JSON.stringify({ scanner_type: "failing", scan_date: "2025-01-15" }),
  headers: { "Content-Type": "application/json" },
});
assert.equal(failed.status, 500);

const figure = (tab, name) => tab.getByRole("button", { name: new RegExp(`^${name} `) }).locator("strong").innerText();
const scans = (tab) => tab.getByRole("region", { name: "Scans", exact: true });
const whole = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 0 });
const fixed = (value, digits = 2) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const signed = (value) => `${value > 0 ? "+" : ""}${fixed(value)}%`;
const given = (tab) => Object.fromEntries(new URLSearchParams(tab.url().split("?")[1]));

test("history: scans are listed, the newest first, and opened with their results", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/history`);
  await scans(tab).locator("tbody tr").nth(2).waitFor();
  assert.deepEqual(await column(scans(tab), "Scanner"), ["Failing", "Gap", "Relative volume"]);
  assert.deepEqual(await column(scans(tab), "Session"), ["2025-01-15", "2025-01-06 to 2025-01-15", "2025-01-15"]);
  assert.deepEqual(await column(scans(tab), "Cutoff"), ["usual", "usual", "10:30"]);
  assert.equal((await column(scans(tab), "Hits")).at(-1), String(scanned.total_results));
  await scans(tab).locator("tbody tr").filter({ hasText: "Relative volume" }).click();
  const hits = tab.getByRole("region", { name: "Hits of the scan" });
  await hits.locator("tbody tr").first().waitFor();
  assert.deepEqual(await column(hits, "Symbol"), scanned.results.map((row) => row.symbol));
  assert.match(tab.url(), new RegExp(`scan=${scanned.scan_id}`));
  const chart = tab.getByRole("img", { name: `Candles of ${scanned.results[0].symbol}` });
  await chart.waitFor();
  assert.match(await chart.getAttribute("aria-label"), /to 2025-01-15 10:29/, "as of the scan's cutoff, not the usual one");
  await tab.reload();
  await hits.locator("tbody tr").first().waitFor();
  assert.deepEqual(await column(hits, "Symbol"), scanned.results.map((row) => row.symbol));
});

test("history: a scan that failed has its kind, and no results", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/history`);
  await tab.getByLabel("Status").selectOption("failed");
  await tab.getByText("1 to 1 of 1").waitFor();
  assert.deepEqual(await column(scans(tab), "Scanner"), ["Failing"]);
  const { error_kind: kind } = (await server.ask("/scans?status=failed")).scans[0];
  assert.deepEqual(await column(scans(tab), "Status"), [`failed: ${kind}`]);
  await scans(tab).locator("tbody tr").click();
  await tab.getByRole("alert").getByText(`an error of kind “${kind}”`).waitFor();
  assert.equal(await tab.getByRole("region", { name: "Hits of the scan" }).count(), 0);
  assert.equal(await tab.getByRole("button", { name: "Stored file" }).count(), 0);
  await tab.getByLabel("Status").selectOption("done");
  await tab.getByText("of 2", { exact: false }).first().waitFor();
  assert.deepEqual(await column(scans(tab), "Scanner"), ["Gap", "Relative volume"]);
  await tab.getByLabel("Scanner").selectOption("gap");
  await tab.getByText("1 to 1 of 1").waitFor();
  assert.deepEqual(await column(scans(tab), "Scanner"), ["Gap"]);
  assert.deepEqual(given(tab), { status: "done", scanner: "gap" });
});

test("history: run again is the same question, and so is its SQL", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/history?scan=${scanned.scan_id}`);
  await tab.getByRole("button", { name: "Copy SQL" }).click();
  await tab.getByText("SQL copied").waitFor();
  const copied = await tab.evaluate(() => navigator.clipboard.readText());
  const found = JSON.parse(scanner(beside, "-q", "sql", `SELECT symbol FROM (${copied}) ORDER BY rank`, "--format", "json"));
  assert.deepEqual(found.map((row) => row.symbol), scanned.results.map((row) => row.symbol));
  await tab.getByRole("link", { name: "Run again" }).click();
  await tab.waitForURL(/#\/scan/);
  const { scanner: name, date, cutoff, "p.max_results_per_day": most, "p.min_relative_volume": least } = given(tab);
  assert.deepEqual({ name, date, cutoff, most, least }, { name: "relative_volume", date: "2025-01-15", cutoff: "10:30", most: "7", least: "1.2" });
  const hits = tab.getByRole("region", { name: "Hits" });
  await hits.locator("tbody tr").first().waitFor();
  assert.deepEqual(await column(hits, "Symbol"), scanned.results.map((row) => row.symbol));
});

test("history: the stored file in each format has the scan's rows", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/history?scan=${scanned.scan_id}`);
  await tab.getByRole("region", { name: "Hits of the scan" }).locator("tbody tr").first().waitFor();
  const symbols = scanned.results.map((row) => row.symbol);
  const save = async (format) => {
    await tab.getByRole("button", { name: "Stored file" }).click();
    const [download] = await Promise.all([tab.waitForEvent("download"), tab.getByRole("button", { name: format, exact: true }).click()]);
    assert.equal(download.suggestedFilename().split(".").at(-1), format.toLowerCase());
    const path = await download.path();
    return { path, bytes: readFileSync(path) };
  };
  const csv = (await save("CSV")).bytes.toString().trim().split("\n");
  const at = csv[0].split(",").indexOf("symbol");
  assert.deepEqual(csv.slice(1).map((line) => line.split(",")[at]), symbols);
  assert.deepEqual(JSON.parse((await save("JSON")).bytes.toString()).map((row) => row.symbol), symbols);
  assert.deepEqual((await save("NDJSON")).bytes.toString().trim().split("\n").map((line) => JSON.parse(line).symbol), symbols);
  const parquet = await save("PARQUET");
  const rows = JSON.parse(scanner(beside, "-q", "sql", `SELECT symbol FROM read_parquet('${parquet.path}')`, "--format", "json"));
  assert.deepEqual(rows.map((row) => row.symbol), symbols);
  assert.equal((await save("XLSX")).bytes.subarray(0, 2).toString(), "PK");
  const arrow = (await save("ARROW")).bytes;
  assert.ok(arrow.includes("probability_score") && symbols.every((symbol) => arrow.includes(symbol)));
});

test("history: what does not fit a page is on the next one, of the list as it was", async () => {
  // Of a market of its own: other tests count scans.
  const own = await Server.start(market());
  const dates = (await own.ask("/sessions")).map((session) => session.session_date);
  const asked = ["gap", "breakout"].flatMap((scanner_type) => dates.map((scan_date) => ({ scanner_type, scan_date, symbols: ["DEMO0001"] }))).slice(0, 104);
  for (const one of asked) await own.ask("/scan", one);
  const tab = await page(own);
  await tab.goto(`${own.root}/#/history`);
  await tab.getByText("1 to 100 of 104").waitFor();
  assert.ok(await tab.getByRole("button", { name: "Newer" }).isDisabled());
  // One that is made meanwhile moves nothing on.
  await own.ask("/scan", { scanner_type: "vwap", scan_date: "2025-01-15" });
  await tab.getByRole("button", { name: "Older" }).click();
  await tab.getByText("101 to 104 of 104").waitFor();
  assert.deepEqual(await column(scans(tab), "Session"), dates.slice(0, 4).toReversed());
  assert.ok(await tab.getByRole("button", { name: "Older" }).isDisabled());
  await tab.reload();
  await tab.getByText("101 to 104 of 104").waitFor();
  await tab.getByRole("button", { name: "Newer" }).click();
  await tab.getByText("1 to 100 of 105").waitFor();
  await own.stop();
});

test("market: the numbers are the server's, at the cutoff that is chosen", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/market?date=2025-01-14&cutoff=11:00`);
  const told = async (time) => {
    const overview = await server.ask(`/market-overview?scan_date=2025-01-14&cutoff_time=${time}`);
    await tab.getByRole("list", { name: `The market at ${time}` }).waitFor();
    const counts = (await tab.getByRole("region", { name: "Breadth" }).locator(".counts").innerText()).match(/\d+/g).map(Number);
    assert.deepEqual(counts, [overview.advancers, overview.unchanged, overview.decliners]);
    assert.equal(await figure(tab, "Mean change"), signed(overview.mean_change_pct));
    assert.equal(await figure(tab, "Above their open"), `${fixed(overview.above_open_pct, 0)}%`);
    assert.equal(await figure(tab, "Volume against usual"), `${fixed(overview.relative_volume)} ×`);
    assert.equal(await figure(tab, "New highs"), whole(overview.new_highs));
    return overview;
  };
  const at11 = await told("11:00");
  const strongest = tab.getByRole("region", { name: "Breadth" }).getByRole("link", { name: at11.strongest_symbol });
  assert.equal(await strongest.getAttribute("href"), `#/chart?symbol=${at11.strongest_symbol}&date=2025-01-14&cutoff=11%3A00`);
  const [window] = (await server.ask("/time-windows?scan_date=2025-01-14")).filter((each) => each.end_time.startsWith("13:15"));
  assert.ok(window, "half hours are counted from 09:15");
  const answered = tab.waitForResponse((response) => response.url().includes("cutoff_time=13%3A15"));
  await tab.getByRole("button", { name: "12:45–13:15" }).click();
  await answered;
  const atQuarter = await told("13:15");
  assert.notEqual(atQuarter.volume, at11.volume);
  await tab.getByRole("button", { name: "Copy SQL" }).click();
  await tab.getByText("SQL copied").waitFor();
  const copied = await tab.evaluate(() => navigator.clipboard.readText());
  const [row] = JSON.parse(scanner(beside, "-q", "sql", copied, "--format", "json"));
  assert.deepEqual([row.advancers, row.mean_change_pct, row.volume], [atQuarter.advancers, atQuarter.mean_change_pct, atQuarter.volume]);
});

test("market: symbols are searched, and opened as a chart of that session", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/market?date=2025-01-14&cutoff=11:00`);
  const table = tab.getByRole("region", { name: "Symbols" });
  await tab.getByLabel("Search symbols").fill("003");
  const expected = JSON.parse(scanner(beside, "-q", "sql", "SELECT symbol, count(*) AS bars FROM bars WHERE contains(symbol, '003') GROUP BY ALL ORDER BY symbol", "--format", "json"));
  await tab.waitForFunction((count) => document.querySelectorAll("[aria-label=Symbols] tbody tr").length === count, expected.length);
  assert.deepEqual((await column(table, "Symbol")).sort(), expected.map((row) => row.symbol));
  await table.getByRole("button", { name: "Symbol" }).click();
  const symbol = (await column(table, "Symbol"))[1];
  await table.locator("tbody tr").nth(1).click();
  await tab.getByRole("link", { name: `Chart of ${symbol}` }).click();
  await tab.getByRole("img", { name: new RegExp(`Candles of ${symbol}: 1000 bars to 2025-01-14 10:59`) }).waitFor();
  await tab.goBack();
  await tab.getByLabel("Search symbols").fill("nothing");
  await tab.getByText("No symbol has “nothing” in its name.").waitFor();
});

test("performance: what hits earned is the backtest of the same question", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/performance?scanner=relative_volume&sessions=20&p.max_results_per_day=5&by=weekday`);
  const begun = tab.waitForRequest((request) => request.method() === "POST" && /\/backtest(\?|$)/.test(request.url()));
  await tab.getByRole("button", { name: "Work it out" }).first().click();
  await begun;
  const list = tab.getByRole("list", { name: "How its hits did" });
  await list.waitFor();
  const dates = (await server.ask("/sessions?limit=20")).map((session) => session.session_date);
  const question = { scanner_type: "relative_volume", start_date: dates.at(-1), end_date: dates[0], config: { max_results_per_day: 5 }, cost_bps: 5, by: "weekday" };
  const { job_id: id } = await server.ask("/backtest", question);
  const { result } = await server.ask(`/jobs/${id}?wait=20`);
  const { summary } = result;
  assert.ok(summary.trades > 20);
  assert.equal(await figure(tab, "Trades"), whole(summary.trades));
  assert.equal(await figure(tab, "Hit rate"), `${fixed(summary.hit_rate_pct, 1)}%`);
  assert.equal(await figure(tab, "Total return"), signed(summary.total_return_pct));
  assert.equal(await figure(tab, "Profit factor"), fixed(summary.profit_factor));
  const table = tab.locator("table").filter({ hasText: "Hits by Weekday" });
  assert.deepEqual(await table.locator("tbody th").allInnerTexts(), result.by.map((row) => String(row.bucket)));
  assert.deepEqual(await column(table, "Trades"), result.by.map((row) => whole(row.trades)));
  await tab.getByRole("link", { name: "All trades" }).click();
  await tab.getByRole("heading", { name: "Equity" }).waitFor();
  assert.equal(await figure(tab, "Trades"), whole(summary.trades), "the same result, in the backtest's tab");
});

test("performance: how the scans ran has the server's counts, and says nothing of what hits earned", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/performance?part=scans`);
  const list = tab.getByRole("list", { name: "How the scans ran" });
  await list.waitFor();
  const { total, scanners } = await server.ask("/stats/performance?days=30");
  assert.ok(total.total_scans >= 3 && total.failed === 1);
  assert.equal(await figure(tab, "Scans"), whole(total.total_scans));
  assert.equal(await figure(tab, "Failed"), "1");
  const table = tab.getByRole("region", { name: "By scanner" });
  const byName = (names, counts) => Object.fromEntries(names.map((name, index) => [name, counts[index]]));
  const heading = (name) => `${name.charAt(0).toUpperCase()}${name.slice(1).replaceAll("_", " ")}`;
  assert.deepEqual(byName(await column(table, "Scanner"), await column(table, "Scans")), byName(scanners.map((ran) => heading(ran.scanner_type)), scanners.map((ran) => whole(ran.total_scans))));
  assert.doesNotMatch(await list.innerText(), /hit rate|\breturn|went (its|their) way/i);
  await tab.getByRole("link", { name: "Which ones" }).click();
  await tab.waitForURL(/#\/history\?status=failed/);
  await tab.getByText("1 to 1 of 1").waitFor();
});
