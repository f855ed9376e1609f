import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { market, page, scanner, Server } from "./support.mjs";

const folder = market();
const server = await Server.start(folder);
/** The same market, which no server holds. */
const beside = market();

/** What the command says to a statement: a row for each, by names. */
const sql = (statement) => JSON.parse(scanner(beside, "-q", "sql", statement, "--format", "json"));
const picture = (tab, said) => tab.getByRole("img", { name: said });
const price = (value) => value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
/** The requests for bars from now on. */
function asked(tab) {
  const urls = [];
  tab.on("request", (request) => request.url().includes("/bars/") && urls.push(new URL(request.url())));
  return urls;
}

test("bars end at the cutoff, and are not asked for beyond it, until the switch is on", async () => {
  const tab = await page(server);
  const urls = asked(tab);
  await tab.goto(`${server.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=10:30`);
  const [{ close }] = sql("SELECT close FROM bars WHERE symbol = 'DEMO0007' AND ts < '2025-01-14 10:30' ORDER BY ts DESC LIMIT 1");
  await picture(tab, `1000 bars to 2025-01-14 10:29:00, last close ${price(close)}`).waitFor();
  assert.deepEqual(urls.map((url) => url.searchParams.get("ended_by")), ["2025-01-14T10:30"]);
  await tab.getByLabel("What happened next").check();
  await picture(tab, /to 2025-01-14 15:29/).waitFor();
  assert.equal(urls.length, 2);
  assert.match(tab.url(), /after=1/);
  await tab.getByLabel("What happened next").uncheck();
  await picture(tab, /to 2025-01-14 10:29/).waitFor();
});

test("the levels of a hit are told, and its outcome is not", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/chart?scanner=breakout&date=2025-01-15`);
  const [hit] = (await server.ask("/scan", { scanner_type: "breakout", scan_date: "2025-01-15" })).results;
  await picture(tab, `Candles of ${hit.symbol}`).waitFor();
  const told = await picture(tab, /Candles of/).getAttribute("aria-label");
  assert.ok(told.endsWith(`. Resistance ${price(hit.resistance)}, Support ${price(hit.support)}, Price ${price(hit.price)}`), told);
  const evidence = tab.locator(".evidence");
  assert.ok((await evidence.innerText()).includes(price(hit.resistance)));
  assert.doesNotMatch(await evidence.innerText(), /End-of-day|Change after/);
  await tab.getByLabel("What happened next").check();
  assert.ok((await evidence.innerText()).includes(price(hit.eod_price)));
});

test("an indicator is drawn by its name with its options, and one that is not there is said", async () => {
  const tab = await page(server);
  const urls = asked(tab);
  await tab.goto(`${server.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=10:30`);
  await picture(tab, /Candles of/).waitFor();
  const field = tab.getByLabel("Indicator", { exact: true });
  const chips = tab.getByRole("list", { name: "Indicators" }).getByRole("listitem");
  for (const [text, path, options] of [
    ["ema(50)", "ema", { time_period: "50" }],
    ["macd(5,20,4)", "macd", { fast_period: "5", slow_period: "20", signal_period: "4" }],
  ]) {
    const answered = tab.waitForResponse((response) => response.url().includes(`/indicators/${path}?`));
    await field.fill(text);
    await field.press("Enter");
    assert.equal((await answered).status(), 200);
    const { searchParams } = urls.find((url) => url.pathname.endsWith(`/DEMO0007/indicators/${path}`));
    assert.deepEqual(Object.fromEntries(searchParams), { ended_by: "2025-01-14T10:30", limit: "1000", ...options }, "the same bars as the chart's");
  }
  assert.equal(await chips.count(), 2);
  assert.equal(new URLSearchParams(tab.url().split("?")[1]).get("ind"), "ema(50);macd(5,20,4)");
  await tab.getByRole("button", { name: "Take ema(50) away" }).click();
  assert.match((await chips.allInnerTexts()).join(), /^macd\(5,20,4\)/);
  await field.fill("nonsense");
  await field.press("Enter");
  await tab.getByRole("alert").getByText("there is no indicator 'nonsense'").waitFor();
  await tab.getByRole("button", { name: "Take nonsense away" }).click();
  await tab.getByRole("alert").waitFor({ state: "detached" });
});

test("bars are put together from nothing later than the cutoff", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=10:32`);
  const [{ close }] = sql("SELECT close FROM bars WHERE symbol = 'DEMO0007' AND ts < '2025-01-14 10:32' ORDER BY ts DESC LIMIT 1");
  await tab.getByLabel("Bars", { exact: true }).selectOption("5 min");
  await picture(tab, `bars to 2025-01-14 10:30:00, last close ${price(close)}`).waitFor();
  await tab.getByLabel("Bars", { exact: true }).selectOption("1 day");
  const [{ days }] = sql("SELECT count(DISTINCT ts::DATE) AS days FROM bars WHERE symbol = 'DEMO0007' AND ts < '2025-01-14 10:32'");
  await picture(tab, `: ${days} bars to 2025-01-14 00:00:00, last close ${price(close)}`).waitFor();
  assert.match(tab.url(), /every=1440/);
});

test("a stock is searched and opened, and one that is not there is said", async () => {
  const tab = await page({ root: server.root, allowed: [/404 \(Not Found\)/] });
  await tab.goto(`${server.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=10:30`);
  await picture(tab, /Candles of DEMO0007/).waitFor();
  const field = tab.getByRole("combobox", { name: "Symbol" });
  await field.fill("002");
  const expected = sql("SELECT DISTINCT symbol FROM bars WHERE contains(symbol, '002') ORDER BY 1").map((row) => row.symbol);
  await tab.locator(`#found option[value=${expected[0]}]`).waitFor({ state: "attached" });
  assert.deepEqual((await tab.locator("#found option").evaluateAll((options) => options.map((option) => option.value))).sort(), expected);
  await field.fill(expected[1]);
  await field.press("Enter");
  await picture(tab, new RegExp(`Candles of ${expected[1]}: 1000 bars to 2025-01-14 10:29`)).waitFor();
  assert.match(tab.url(), new RegExp(`symbol=${expected[1]}`));
  await field.fill("NOPE");
  await field.press("Enter");
  await tab.getByRole("alert").getByText("there is no bar of 'NOPE'").waitFor();
  assert.equal(await picture(tab, /Candles of/).count(), 0, "no candles of another stock below its name");
  await tab.goBack();
  await picture(tab, new RegExp(`Candles of ${expected[1]}`)).waitFor();
});

test("up and down go through the hits, and back at the scan its parameters are as they were", async () => {
  const tab = await page(server);
  const given = "scanner=relative_volume&date=2025-01-15&cutoff=11%3A00&p.max_results_per_day=10&p.min_relative_volume=1.2";
  await tab.goto(`${server.root}/#/chart?${given}`);
  const { results } = await server.ask("/scan", { scanner_type: "relative_volume", scan_date: "2025-01-15", cutoff_time: "11:00", config: { max_results_per_day: 10, min_relative_volume: 1.2 } });
  assert.ok(results.length > 3);
  const current = tab.locator("aside [aria-current=true] strong");
  await picture(tab, `Candles of ${results[0].symbol}`).waitFor();
  assert.deepEqual(await tab.locator("aside li strong").allInnerTexts(), results.map((row) => row.symbol));
  for (const [key, index] of [["ArrowDown", 1], ["j", 2], ["ArrowUp", 1], ["k", 0], ["ArrowUp", 0], ["ArrowDown", 1]]) {
    await tab.keyboard.press(key);
    await current.getByText(results[index].symbol, { exact: true }).waitFor();
  }
  await picture(tab, `Candles of ${results[1].symbol}`).waitFor();
  await tab.getByRole("link", { name: "Back to the scan" }).click();
  await tab.waitForURL(/#\/scan/);
  const values = Object.fromEntries(new URLSearchParams(tab.url().split("?")[1]));
  assert.deepEqual(values, { ...Object.fromEntries(new URLSearchParams(given)), row: `2025-01-15|${results[1].symbol}` });
  await tab.getByText(`${results.length} hits`).first().waitFor();
});

for (const [label, every] of [["as stored", 1], ["5 min", 5], ["1 day", 1440]]) {
  test(`exported bars, and those of the SQL, are the bars that are shown: ${label}`, async () => {
    const tab = await page(server);
    await tab.goto(`${server.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=10:32${every === 1 ? "" : `&every=${every}`}`);
    await picture(tab, /Candles of DEMO0007/).waitFor();
    const bars = await server.ask(`/bars/DEMO0007?to=2025-01-14T10:32&every=${every}&limit=1000`);
    await tab.getByRole("button", { name: "Export" }).click();
    const [download] = await Promise.all([tab.waitForEvent("download"), tab.getByRole("button", { name: "CSV", exact: true }).click()]);
    assert.equal(download.suggestedFilename(), "DEMO0007-2025-01-14.csv");
    const told = (row) => [row.symbol, row.ts.replace("T", " ").slice(0, 19), ...[row.open, row.high, row.low, row.close, row.volume].map(Number)].join();
    const [header, ...lines] = readFileSync(await download.path(), "utf8").trim().split("\n");
    assert.equal(header, "symbol,ts,open,high,low,close,volume");
    const rows = lines.map((line) => Object.fromEntries(line.split(",").map((value, index) => [header.split(",")[index], value])));
    assert.deepEqual(rows.map(told), bars.map(told));

    await tab.getByRole("button", { name: "Copy SQL" }).click();
    await tab.getByText("SQL copied").waitFor();
    const copied = await tab.evaluate(() => navigator.clipboard.readText());
    assert.deepEqual(sql(`SELECT * FROM (${copied}) ORDER BY ts`).map(told), bars.map(told));
  });
}

test("going back in time fetches more bars, and the view stays where it is", async () => {
  const tab = await page(server);
  const urls = asked(tab);
  await tab.goto(`${server.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=10:30`);
  const chart = picture(tab, /Candles of DEMO0007/);
  await chart.waitFor();
  assert.deepEqual(urls.map((url) => url.searchParams.get("limit")), ["1000"]);
  const box = await chart.boundingBox();
  await tab.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  // Some 220 bars each.
  for (let step = 0; step < 30 && urls.length === 1; step += 1) {
    await tab.mouse.wheel(-1000, 0);
    await tab.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  }
  await picture(tab, /: 4000 bars to 2025-01-14 10:29/).waitFor();
  await tab.mouse.move(box.x + box.width / 2, box.y + box.height / 2 + 5);
  // In sight are some 400 of the bars, among the first of those that were there.
  const [{ first, last }] = sql(
    "SELECT min(ts)::VARCHAR AS first, max(ts)::VARCHAR AS last FROM (SELECT ts, row_number() OVER (ORDER BY ts DESC) AS back FROM bars " +
      "WHERE symbol = 'DEMO0007' AND ts < '2025-01-14 10:30') WHERE back BETWEEN 400 AND 1100",
  );
  const pointed = await tab.locator(".told span").first().innerText();
  assert.ok(pointed >= first && pointed <= last, `${pointed} should be from ${first} to ${last}`);
  assert.deepEqual(urls.map((url) => url.searchParams.get("limit")), ["1000", "4000"]);
});

test("of longer bars, one that had not ended by the cutoff is not shown", async () => {
  const folder = market();
  scanner(
    folder,
    "-q",
    "sql",
    "CREATE OR REPLACE TABLE bars AS SELECT symbol, time_bucket(INTERVAL 15 MINUTE, ts) AS ts, arg_min(open, ts) AS open, max(high) AS high, min(low) AS low, " +
      "arg_max(close, ts) AS close, sum(volume)::BIGINT AS volume FROM bars GROUP BY ALL",
  );
  const longer = await Server.start(folder, "--bar-minutes", "15");
  const tab = await page(longer);
  await tab.goto(`${longer.root}/#/chart?symbol=DEMO0007&date=2025-01-14&cutoff=09:50`);
  // The next one, of 09:45, ends at 10:00.
  await picture(tab, /to 2025-01-14 09:30:00/).waitFor();
  await tab.getByRole("button", { name: "Copy SQL" }).click();
  await tab.getByText("SQL copied").waitFor();
  const newest = JSON.parse(scanner(folder, "-q", "sql", `SELECT max(ts)::VARCHAR AS ts FROM (${await tab.evaluate(() => navigator.clipboard.readText())})`, "--format", "json"));
  assert.equal(newest[0].ts, "2025-01-14 09:30:00");
});
