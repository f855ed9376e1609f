/** The live tab, on a market of which each minute is made by hand. */

import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { column, page, scanner, Server } from "./support.mjs";

const SESSION = "2025-01-13";
/** Nothing but the relative volume decides: a hit has traded 2.5 times as much as in the sessions before. */
const SET = { lookback_days: 3, min_avg_volume: 0, min_volume: 0, min_bars: 1, min_relative_volume: 2.5, max_results_per_day: 50 };
const ADDRESS = `scanner=relative_volume&interval=1&${Object.entries(SET).map(([name, value]) => `p.${name}=${value}`).join("&")}`;
/** Shares of each minute from 09:15 on, where 1000 are usual. FADE is a hit in 09:15 (5 times) and 09:16 (3), and none in 09:17 (2); LOUD is from 09:16 on (3, 3.7). */
const VOLUMES = { CALM: [1000, 1000, 1000, 1000], FADE: [5000, 1000, 0, 0], LOUD: [1000, 5000, 5000, 5000] };

const bar = (symbol, session, minute, volume) => ({ symbol, ts: `${session}T09:${15 + minute}:00`, open: 100, high: 101, low: 99, close: 100.5, volume });
const minuteOf = (minute) => Object.entries(VOLUMES).map(([symbol, volumes]) => bar(symbol, SESSION, minute, volumes[minute]));
const lines = (bars) => bars.map((one) => `${JSON.stringify(one)}\n`).join("");

/** A folder with sessions before, and the first minute of the one that goes on. */
function market() {
  const folder = mkdtempSync(join(tmpdir(), "stockscan-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const before = ["06", "07", "08", "09", "10"].flatMap((day) => Object.keys(VOLUMES).flatMap((symbol) => Array.from({ length: 30 }, (_, minute) => bar(symbol, `2025-01-${day}`, minute, 1000))));
  writeFileSync(join(folder, "bars.ndjson"), lines([...before, ...minuteOf(0)]));
  scanner(folder, "-q", "ingest", "bars.ndjson");
  return folder;
}

async function feed(server, minute) {
  const response = await fetch(`${server.root}/api/v1/scanner/ingest/bars`, { method: "POST", body: lines(minuteOf(minute)), headers: { "Content-Type": "application/x-ndjson" } });
  assert.ok(response.ok, await response.text());
}

const standing = (tab) => tab.getByRole("region", { name: "How the live scan stands" });
const says = (tab, word) => standing(tab).getByRole("status").getByText(word, { exact: true }).waitFor();
const dataAsOf = (tab, time) => standing(tab).locator(".clock strong").getByText(time, { exact: true }).waitFor();
const hits = (tab) => tab.getByRole("region", { name: /^Hits/ });
/** Names of the table, without what is said of new ones. */
const names = async (tab) => (await column(hits(tab), "Symbol")).map((text) => text.split(",")[0].trim()).sort();
const marked = async (tab) => (await hits(tab).locator("tr.marked td:first-child").allInnerTexts()).map((text) => text.split(",")[0].trim());
const log = (tab) => tab.getByRole("region", { name: "Came and went" }).locator("li");
/** The log without line breaks: `09:17 + LOUD`. */
const logged = async (tab) => (await log(tab).allInnerTexts()).map((text) => text.replace(/\s+/g, " ").trim());

test("names come and go with the bars, and stopped is stopped", async () => {
  const server = await Server.start(market());
  const tab = await page(server);
  const sockets = [];
  tab.on("websocket", (socket) => sockets.push(socket));
  await tab.goto(`${server.root}/#/live?${ADDRESS}`);
  await says(tab, "STOPPED");
  assert.equal(sockets.length, 0, "nothing is followed before it is started");
  await tab.getByRole("button", { name: "Start" }).click();
  await says(tab, "LIVE");
  // The newest bar began at 09:15.
  await dataAsOf(tab, "09:16");
  assert.match(await standing(tab).innerText(), new RegExp(`${SESSION}\\s*exchange time`));
  assert.deepEqual(await names(tab), ["FADE"]);
  assert.deepEqual(await column(hits(tab), "Since"), ["≤09:16"], "since when is not known of what was there at the start");
  assert.deepEqual(await marked(tab), []);

  await feed(server, 1);
  await dataAsOf(tab, "09:17");
  assert.deepEqual(await names(tab), ["FADE", "LOUD"]);
  assert.deepEqual(await marked(tab), ["LOUD"]);
  assert.deepEqual((await column(hits(tab), "Since")).sort(), ["09:17", "≤09:16"]);
  assert.ok((await logged(tab)).includes("09:17 + LOUD"), await logged(tab));
  assert.match(await tab.title(), /^\(1\) /);

  await feed(server, 2);
  await dataAsOf(tab, "09:18");
  assert.deepEqual(await names(tab), ["LOUD"]);
  assert.match(await tab.getByRole("group", { name: "Just gone" }).innerText(), /FADE\s*09:18/);
  assert.equal((await logged(tab))[0], "09:18 − FADE");

  assert.match(tab.url(), /on=1/);
  await tab.reload();
  await says(tab, "LIVE");
  await dataAsOf(tab, "09:18");
  assert.deepEqual(await names(tab), ["LOUD"], "the address alone follows the same scan");
  assert.deepEqual(await column(hits(tab), "Since"), ["≤09:18"]);

  const open = sockets.at(-1);
  await tab.getByRole("button", { name: "Stop" }).click();
  await says(tab, "STOPPED");
  await tab.getByRole("region", { name: "Hits, not up to date" }).waitFor();
  assert.doesNotMatch(await standing(tab).innerText(), /ago/, "nothing ticks");
  assert.equal(await tab.locator(".standing.live, nav .dot").count(), 0);
  assert.doesNotMatch(tab.url(), /on=1/);
  assert.ok(open.isClosed() || (await open.waitForEvent("close")), "the connection is closed");
  await server.stop();
});

test("a parameter that cannot be is refused in the server's words, at its field", async () => {
  const server = await Server.start(market());
  const tab = await page(server);
  await tab.goto(`${server.root}/#/live?${ADDRESS}&p.min_price=-5`);
  await tab.getByRole("button", { name: "Start" }).click();
  await says(tab, "REFUSED");
  const response = await fetch(`${server.root}/api/v1/scanner/scan`, {
    method: "POST",
    body: JSON.stringify({ scanner_type: "relative_volume", config: { min_price: -5 } }),
    headers: { "Content-Type": "application/json" },
  });
  const { detail } = await response.json();
  assert.match(detail, /min_price/);
  const said = (await standing(tab).getByRole("alert").innerText()).toLowerCase();
  assert.ok(said.includes(detail.toLowerCase().replace(/^config\./, "")), `${said} should say ${detail}`);
  const field = tab.getByLabel("Min price", { exact: true });
  assert.equal(await field.getAttribute("aria-invalid"), "true");
  assert.equal(await hits(tab).locator("tbody tr").count(), 0);
  await field.fill("50");
  await field.blur();
  await says(tab, "LIVE");
  await server.stop();
});

test("a server that is killed is said with the next attempt; when it is there again it is live by itself, with what is new meanwhile", async () => {
  const folder = market();
  const server = await Server.start(folder);
  const tab = await page({ root: server.root, allowed: [/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/, /WebSocket connection/, /Failed to fetch/] });
  await tab.goto(`${server.root}/#/live?${ADDRESS}&on=1`);
  await says(tab, "LIVE");
  await dataAsOf(tab, "09:16");
  await server.stop("SIGKILL");
  await says(tab, "NO CONNECTION");
  const banner = standing(tab).getByRole("alert");
  assert.match(await banner.innerText(), /What is shown is from before/);
  await banner.getByText(/next attempt in \d+ s/).waitFor();
  await tab.getByRole("region", { name: "Hits, not up to date" }).waitFor();
  assert.deepEqual(await names(tab), ["FADE"], "what is known stays, dimmed");
  assert.ok(Number(await tab.locator(".card.dimmed").first().evaluate((card) => getComputedStyle(card).opacity)) < 1);

  appendFileSync(join(folder, "more.ndjson"), lines(minuteOf(1)));
  scanner(folder, "-q", "ingest", "more.ndjson");
  const again = await Server.start(folder, "--port", String(server.port));
  await says(tab, "LIVE");
  await dataAsOf(tab, "09:17");
  await tab.getByRole("region", { name: "Hits", exact: true }).waitFor();
  assert.deepEqual(await marked(tab), ["LOUD"]);
  assert.ok((await logged(tab)).includes("09:17 Connected again: 1 new and 0 gone meanwhile"), (await logged(tab)).join("\n"));
  assert.deepEqual((await column(hits(tab), "Since")).sort(), ["≤09:16", "≤09:17"], "when it came is not known");
  assert.equal(await banner.count(), 0);
  await again.stop();
});

test("a server that hangs is silent, not live", async () => {
  const server = await Server.start(market());
  const tab = await page(server);
  await tab.clock.install();
  await tab.goto(`${server.root}/#/live?${ADDRESS}&on=1`);
  await says(tab, "LIVE");
  await tab.getByRole("img", { name: /Candles of FADE/ }).waitFor();
  server.process.kill("SIGSTOP");
  // Two signs of life, of 15 s each, have not come.
  await tab.clock.fastForward(32_000);
  await says(tab, "SILENT");
  await tab.getByRole("region", { name: "Hits, not up to date" }).waitFor();
  server.process.kill("SIGCONT");
  await feed(server, 1);
  await says(tab, "LIVE");
  await dataAsOf(tab, "09:17");
  await server.stop();
});

test("alerts are shown as they are raised, and those of before after a reload", async () => {
  const folder = market();
  writeFileSync(join(folder, "scanner_config.json"), JSON.stringify({ alerts: { loud: { scanner_type: "relative_volume", config: SET, symbols: ["LOUD", "CALM"], interval_seconds: 1 } } }));
  const server = await Server.start(folder);
  const tab = await page(server);
  await tab.goto(`${server.root}/#/live?${ADDRESS}&on=1`);
  await says(tab, "LIVE");
  await tab.getByRole("button", { name: "Alerts", exact: true }).click();
  const alerts = tab.getByRole("region", { name: "Alerts" });
  await alerts.getByText("No alert yet.").waitFor();
  await feed(server, 1);
  await alerts.locator("li.fresh").waitFor();
  assert.equal((await alerts.locator("li").innerText()).replace(/\s+/g, " ").trim(), `09:17 LOUD 100.50 loud, ${SESSION}`);
  await tab.reload();
  await tab.getByRole("button", { name: "Alerts (1)" }).click();
  await alerts.locator("li").waitFor();
  assert.equal(await alerts.locator("li.fresh").count(), 0, "it is none of now");
  assert.match(await alerts.getByRole("link", { name: "LOUD" }).getAttribute("href"), new RegExp(`symbol=LOUD&date=${SESSION}&cutoff=09%3A17`));
  await server.stop();
});

/** A server's messages as they are wanted; everything else is the real one's. */
async function spoken(tab) {
  const said = {};
  const subscribed = new Promise((done) => (said.subscribed = done));
  await tab.routeWebSocket(/\/ws\/live-scan$/, (socket) => {
    said.send = (message) => socket.send(JSON.stringify({ subscription_id: "one", ...message }));
    socket.onMessage((text) => {
      const asked = JSON.parse(text);
      if (asked.type === "subscribe_alerts") said.send({ type: "subscribed", subscription_id: "alerts" });
      if (asked.type !== "subscribe") return;
      said.send({ type: "subscribed", interval_seconds: 1 });
      said.subscribed();
    });
  });
  said.ready = subscribed;
  const row = (symbol) => ({ scan_date: SESSION, symbol, price: 100.5, relative_volume: 3, volume: 6000, probability_score: 30, rank: 1 });
  said.update = (time, ...symbols) => said.send({ type: "scan_update", data_as_of: `${SESSION}T${time}`, results: symbols.map(row), added: [], removed: [] });
  return said;
}

const quiet = await Server.start(market());

test("a look that failed is said with its reason until one succeeds", async () => {
  const tab = await page(quiet);
  const server = await spoken(tab);
  await tab.goto(`${quiet.root}/#/live?${ADDRESS}&on=1`);
  await server.ready;
  server.update("09:16:00", "FADE");
  await says(tab, "LIVE");
  server.send({ type: "stale", error: "locked", status: 503, detail: "another process holds the database (PID 42)", data_as_of: `${SESSION}T09:16:00` });
  await says(tab, "STALE");
  await standing(tab).getByRole("alert").getByText("Another process holds the database (PID 42)").waitFor();
  await tab.getByText("may be out of date", { exact: true }).waitFor();
  // A sign of life of the server is none of the scan.
  server.send({ type: "heartbeat", subscriptions: [{ subscription_id: "one", data_as_of: `${SESSION}T09:16:00`, checked_at: null, is_stale: true }] });
  await standing(tab).locator("dl div").filter({ hasText: "last heartbeat" }).getByText("s ago").waitFor();
  await says(tab, "STALE");
  server.update("09:17:00", "FADE");
  await says(tab, "LIVE");
  assert.equal(await standing(tab).getByRole("alert").count(), 0);
});

test("what is kept is bounded, however long it goes on", async () => {
  // Their bars are not there.
  const tab = await page({ root: quiet.root, allowed: [/404 \(Not Found\).*\/bars\/N\d+/] });
  const server = await spoken(tab);
  await tab.goto(`${quiet.root}/#/live?${ADDRESS}&on=1`);
  await server.ready;
  // Each update has one name that is new, and lacks the one before.
  for (let step = 0; step < 300; step += 1) server.update(`09:${String(15 + Math.floor(step / 60)).padStart(2, "0")}:${String(step % 60).padStart(2, "0")}`, `N${step}`);
  await dataAsOf(tab, "09:19:59");
  assert.deepEqual(await names(tab), ["N299"]);
  assert.equal(await log(tab).count(), 200);
  const [newest, ...older] = (await logged(tab)).map((text) => text.split(" ").at(-1));
  assert.equal(newest, "N299");
  // 200 entries are 100 updates, of two entries each: N200 came, and N199 went.
  assert.deepEqual(new Set([newest, ...older]), new Set(Array.from({ length: 101 }, (_, index) => `N${199 + index}`)));
  assert.equal(await tab.getByRole("group", { name: "Just gone" }).getByRole("button").count(), 24);
});
