import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { column, market, page, scanner, Server } from "./support.mjs";

const folder = market();
const server = await Server.start(folder);
/** The same market for the command, so that neither waits for the other. */
const aside = market();

test("a scan is that of the command, and what happened next is behind a switch", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=breakout&date=2025-01-15&p.max_results_per_day=20`);
  const hits = tab.getByRole("region", { name: "Hits" });
  await hits.locator("tbody tr").first().waitFor();
  const printed = scanner(aside, "-q", "run", "-t", "breakout", "--date", "2025-01-15", "--set", "max_results_per_day=20", "--format", "csv").trim().split("\n");
  const at = printed[0].split(",").indexOf("symbol");
  const expected = printed.slice(1).map((line) => line.split(",")[at]);
  assert.ok(expected.length > 0);
  assert.deepEqual(await column(hits, "Symbol"), expected);
  await assert.rejects(column(hits, "End-of-day price"), "nothing of what came later is shown at first");
  assert.doesNotMatch(await tab.locator("main").innerText(), /went their way/);
  await tab.getByLabel("What happened next").check();
  assert.equal((await column(hits, "End-of-day price")).length, expected.length);
  assert.match(tab.url(), /after=1/);
});

test("bars after the cutoff are not even asked for until the switch is on", async () => {
  const tab = await page(server);
  const asked = [];
  tab.on("request", (request) => request.url().includes("/bars/") && asked.push(decodeURIComponent(request.url())));
  await tab.goto(`${server.root}/#/scan?scanner=breakout&date=2025-01-15&cutoff=10:30`);
  await tab.getByRole("img", { name: /Candles of DEMO\d+/ }).waitFor();
  assert.ok(asked.length > 0 && asked.every((url) => url.includes("ended_by=2025-01-15T10:30")), asked.join("\n"));
  // The last bar that is told of is the one that ended at the cutoff.
  const chart = tab.getByRole("img", { name: /Candles of/ });
  assert.match(await chart.getAttribute("aria-label"), /to 2025-01-15 10:29/);
  await tab.getByLabel("What happened next").check();
  await tab.getByRole("img", { name: /to 2025-01-15 15:29/ }).waitFor();
});

test("the form is that of the scanner: changes scan again, stand in the address, and can be taken back", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=relative_volume&date=2025-01-15`);
  const status = tab.getByRole("status").filter({ hasText: "hits" });
  await status.waitFor();
  const documented = (await server.ask("/scanners")).find((known) => known.scanner_type === "relative_volume").parameters;
  for (const parameter of documented.filter(({ name }) => !["scan_date", "end_date", "source", "bar_minutes", "symbols", "cutoff_time"].includes(name))) {
    assert.equal(await tab.getByTitle(parameter.name, { exact: true }).and(tab.locator("label")).count(), 1, `${parameter.name} has a field`);
  }
  const field = tab.getByLabel("Min relative volume", { exact: true });
  assert.equal(await field.inputValue(), "2");
  await field.fill("6.5");
  await field.blur();
  await tab.waitForURL(/p\.min_relative_volume=6\.5/);
  const wanted = await server.ask("/scan", { scanner_type: "relative_volume", scan_date: "2025-01-15", config: { min_relative_volume: 6.5 } });
  await tab.getByText(`${wanted.total_results} hit`).first().waitFor();
  await tab.reload();
  assert.equal(await tab.getByLabel("Min relative volume", { exact: true }).inputValue(), "6.5", "a reload keeps it");
  await tab.getByRole("button", { name: "Reset Min relative volume to 2" }).click();
  assert.equal(await tab.getByLabel("Min relative volume", { exact: true }).inputValue(), "2");
  assert.doesNotMatch(tab.url(), /min_relative_volume/);
});

test("a value that is out of range is refused in the server's words", async () => {
  const tab = await page({ ...server, root: server.root, allowed: [/400 \(Bad Request\)/] });
  await tab.goto(`${server.root}/#/scan?scanner=breakout&p.min_price=-5`);
  await tab.getByRole("alert").filter({ hasText: "min_price" }).first().waitFor();
});

test("one's own scanner has its form by itself", async () => {
  scanner(folder, "new", "evening_rise");
  const own = await Server.start(folder, "--scanners-directory", "scanners");
  const tab = await page(own);
  await tab.goto(`${own.root}/#/scan`);
  await tab.getByLabel("Scanner").selectOption("evening_rise");
  await tab.waitForURL(/scanner=evening_rise/);
  const parameters = (await own.ask("/scanners")).find((known) => known.scanner_type === "evening_rise").parameters;
  const particular = parameters.map(({ name }) => name).filter((name) => !["scan_date", "cutoff_time", "end_date", "source", "bar_minutes", "session_start", "session_end", "symbols"].includes(name));
  assert.ok(particular.length > 0);
  for (const name of particular) assert.equal(await tab.locator(`label[title="${name}"]`).count(), 1, name);
  await tab.waitForLoadState("networkidle");
  await own.stop();
});

test("rows are sorted by a click, gone through by the keyboard, and opened as a chart", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=relative_volume&date=2025-01-06&end=2025-01-15`);
  const hits = tab.getByRole("region", { name: "Hits" });
  await hits.locator("tbody tr").first().waitFor();
  await hits.getByRole("button", { name: "Price" }).click();
  const prices = (await column(hits, "Price")).map((text) => Number(text.replaceAll(",", "")));
  assert.deepEqual(prices, prices.toSorted((one, other) => other - one), "numbers begin with the highest");
  assert.match(tab.url(), /sort=-price/);
  await hits.focus();
  await tab.keyboard.press("Home");
  await tab.keyboard.press("ArrowDown");
  await tab.keyboard.press("ArrowDown");
  const symbol = (await column(hits, "Symbol"))[2];
  await tab.getByRole("img", { name: `Candles of ${symbol}` }).waitFor();
  await tab.keyboard.press("Enter");
  await tab.waitForURL(/#\/chart/);
  await tab.getByRole("img", { name: `Candles of ${symbol}` }).waitFor();
  await tab.keyboard.press("ArrowDown");
  const next = (await tab.locator("aside [aria-current=true] strong").innerText()).trim();
  await tab.getByRole("img", { name: `Candles of ${next}` }).waitFor();
  assert.notEqual(next, symbol);
});

test("what is exported is exactly what is shown", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=relative_volume&date=2025-01-06&end=2025-01-15&sort=symbol`);
  const hits = tab.getByRole("region", { name: "Hits" });
  await hits.locator("tbody tr").first().waitFor();
  const symbols = await column(hits, "Symbol");
  assert.deepEqual(symbols, symbols.toSorted());
  const save = async (label) => {
    await tab.getByRole("button", { name: "Export" }).click();
    const [download] = await Promise.all([tab.waitForEvent("download"), tab.getByRole("button", { name: label, exact: true }).click()]);
    const path = await download.path();
    return { name: download.suggestedFilename(), bytes: readFileSync(path), path };
  };
  const csv = await save("CSV");
  assert.equal(csv.name, "relative_volume-2025-01-06-2025-01-15.csv");
  const lines = csv.bytes.toString().trim().split("\n");
  const at = lines[0].split(",").indexOf("symbol");
  assert.deepEqual(lines.slice(1).map((line) => line.split(",")[at]), symbols, "in the order of the table");
  assert.ok(!lines[0].includes("eod_price"), "without what is not shown");
  const json = JSON.parse((await save("JSON")).bytes.toString());
  assert.deepEqual(json.map((row) => row.symbol), symbols);
  const parquet = await save("Parquet");
  const counted = scanner(aside, "-q", "sql", `SELECT count(*) AS n, min(symbol) AS first, typeof(any_value(scan_date)) AS type FROM read_parquet('${parquet.path}')`, "--format", "csv");
  assert.equal(counted.trim().split("\n")[1], `${symbols.length},${symbols[0]},DATE`);
  const xlsx = await save("Excel (XLSX)");
  assert.equal(xlsx.bytes.subarray(0, 2).toString(), "PK");
});

test("the SQL that is copied gives the rows that are shown", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=breakout&date=2025-01-14&cutoff=11:00&p.min_price=100`);
  const hits = tab.getByRole("region", { name: "Hits" });
  await hits.locator("tbody tr").first().waitFor();
  await tab.getByRole("button", { name: "Copy SQL" }).click();
  await tab.getByText("SQL copied").waitFor();
  const sql = await tab.evaluate(() => navigator.clipboard.readText());
  const printed = scanner(aside, "-q", "sql", `SELECT symbol FROM (${sql}) ORDER BY rank`, "--format", "csv").trim().split("\n");
  assert.deepEqual(printed.slice(1), await column(hits, "Symbol"));
});

test("a scan is asked for once", async () => {
  const tab = await page(server);
  let asked = 0;
  tab.on("request", (request) => (asked += Number(request.url().endsWith("/scan"))));
  await tab.goto(`${server.root}/#/scan`);
  await tab.getByRole("img", { name: /Candles of DEMO\d+/ }).waitFor();
  await tab.waitForLoadState("networkidle");
  assert.equal(asked, 1, "an answer must not ask again");
});

test("the funnel counts what each condition leaves", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/scan?scanner=breakout&date=2025-01-15&funnel=1`);
  const { steps } = await server.ask("/explain", { scanner_type: "breakout", scan_date: "2025-01-15" });
  await tab.locator(".funnel code").first().waitFor();
  assert.deepEqual(await tab.locator(".funnel code").allInnerTexts(), steps.map((step) => step.condition));
  const counts = (await tab.locator(".funnel .count").allInnerTexts()).slice(1);
  assert.deepEqual(counts.map((text) => Number(text.replaceAll(",", ""))), steps.map((step) => step.survivors));
});
