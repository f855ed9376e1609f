import assert from "node:assert/strict";
import { test } from "node:test";
import { column, market, page, scanner, Server } from "./support.mjs";

const folder = market();
const server = await Server.start(folder);
/** The same market for the command, so that neither waits for the other. */
const aside = market();

/** What the command says to a statement: a row for each, by names. */
function sql(statement) {
  return JSON.parse(scanner(aside, "-q", "sql", statement, "--format", "json"));
}
/** The text below a key figure's name. */
const figure = (tab, name) => tab.getByRole("button", { name: new RegExp(`^${name} `) }).locator("strong").innerText();

test("a backtest says what the command says, and its trades are shown at their charts", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/backtest?scanner=breakout&from=2024-12-02&t.stop_loss_pct=1&t.cost_bps=5&by=weekday`);
  await tab.getByRole("button", { name: "Run the backtest" }).click();
  await tab.getByRole("heading", { name: "Equity" }).waitFor();
  await tab.waitForURL(/job=[0-9a-f-]{36}/);
  const [expected] = sql("FROM backtest_summary('breakout', '2024-12-02', '2025-01-15', stop_loss_pct := 1, cost_bps := 5)");
  assert.equal(await figure(tab, "Trades"), String(expected.trades));
  assert.equal(await figure(tab, "Total return"), `${expected.total_return_pct > 0 ? "+" : ""}${expected.total_return_pct.toFixed(2)}%`);
  assert.equal(await figure(tab, "Hit rate"), `${expected.hit_rate_pct.toFixed(1)}%`);
  assert.match(await tab.locator("main").innerText(), /Slippage is 0/);
  await tab.getByRole("button", { name: "Copy SQL" }).click();
  const copied = await tab.evaluate(() => navigator.clipboard.readText());
  assert.equal(sql(copied)[0].total_return_pct, expected.total_return_pct, "the SQL that is copied gives the same");

  const trades = tab.getByRole("region", { name: "Trades", exact: true });
  const [first] = await column(trades, "Symbol");
  await trades.locator("tbody tr").first().click();
  await tab.getByRole("img", { name: new RegExp(`Candles of ${first}`) }).waitFor();
  assert.match(tab.url(), /trade=1/);
  await tab.reload();
  await tab.getByRole("img", { name: new RegExp(`Candles of ${first}`) }).waitFor();
  assert.equal(await figure(tab, "Trades"), String(expected.trades), "a reload comes back to the result");
});

test("without costs, and with few trades, it is said in words", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/backtest?scanner=breakout&from=2025-01-15&to=2025-01-15`);
  await tab.getByRole("button", { name: "Run the backtest" }).click();
  await tab.getByText("Costs are 0: real ones are not.").waitFor();
  await tab.getByText("below some thirty, everything else here is noise").waitFor();
});

test("what the server refuses stands at its field, and goes when that is changed", async () => {
  const tab = await page({ ...server, root: server.root, allowed: [/400 \(Bad Request\)/] });
  await tab.goto(`${server.root}/#/backtest?scanner=breakout&t.stop_loss_pct=-5`);
  await tab.getByRole("button", { name: "Run the backtest" }).click();
  await tab.getByRole("alert").filter({ hasText: "stop_loss_pct must be between 0.01 and 1000" }).waitFor();
  const field = tab.getByLabel("Stop loss %", { exact: true });
  assert.equal(await field.getAttribute("aria-invalid"), "true");
  await field.fill("2");
  await field.blur();
  await tab.getByRole("alert").waitFor({ state: "detached" });
});

test("an optimisation counts its combinations before, follows its job over a reload, and can be cancelled", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/optimize?scanner=breakout&g.consolidation_period=2..60..1&g.breakout_volume_ratio=1..3..0.5&g.stop_loss_pct=0.5,1,none`);
  // 59 × 5 × 3
  await tab.getByRole("button", { name: "Try 885 combinations" }).click();
  await tab.getByText("Running", { exact: true }).waitFor();
  await tab.waitForURL(/job=/);
  await tab.reload();
  await tab.getByText("Running", { exact: true }).waitFor();
  await tab.getByRole("button", { name: "Cancel" }).click();
  await tab.getByText("It was cancelled.").waitFor();
  const [job] = (await server.ask("/jobs?kind=optimize")).jobs;
  assert.equal(job.status, "cancelled");
  assert.deepEqual(job.request.grid.breakout_volume_ratio, [1, 1.5, 2, 2.5, 3]);
  assert.deepEqual(job.request.grid.stop_loss_pct, [0.5, 1, null]);
});

test("an optimisation begins with its verdict, and a combination opens as a backtest that has the same result", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/optimize?scanner=breakout&from=2024-11-19&g.breakout_volume_ratio=1,1.5,3&g.stop_loss_pct=0.5,none&t.cost_bps=5&o.min_trades=1`);
  await tab.getByRole("button", { name: "Try 6 combinations" }).click();
  await tab.getByRole("heading", { name: "Heat map" }).waitFor();
  const [report] = sql(
    "WITH trials AS (FROM grid_trades('breakout', '2024-11-19', '2025-01-15', {breakout_volume_ratio: [1, 1.5, 3], stop_loss_pct: [0.5, NULL]}, cost_bps := 5)) " +
      "FROM grid_report('trials', '2024-11-19', '2025-01-15', min_trades := 1)",
  );
  const said = (await tab.locator(".verdict").innerText()).toLowerCase();
  assert.ok(said.includes(report.verdict) && said.includes(report.reason), `${said} should say ${report.verdict}: ${report.reason}`);
  const best = tab.getByRole("button", { name: /, the best$/ });
  assert.ok((await best.innerText()).startsWith(report.objective.toFixed(2)), "the best cell has the best objective");

  await tab.getByRole("link", { name: "Open as a backtest" }).click();
  await tab.getByRole("button", { name: "Run the backtest" }).click();
  await tab.getByRole("heading", { name: "Equity" }).waitFor();
  assert.equal(await figure(tab, "Sharpe ratio"), report.sharpe.toFixed(2));
});

test("values to try are read as the command reads them, and what cannot be is said before", async () => {
  const tab = await page(server);
  await tab.goto(`${server.root}/#/optimize?scanner=breakout&g.min_price=50`);
  const field = tab.getByLabel("Min price currency");
  const go = tab.getByRole("button", { name: /^Try/ });
  for (const [text, said] of [
    ["0.1..0.3..0.1", "0.1 · 0.2 · 0.3"],
    ["1,2,5..20..5", "1 · 2 · 5 · 10 · 15 · 20"],
  ]) {
    await field.fill(text);
    await tab.getByText(said, { exact: true }).waitFor();
    assert.ok(await go.isEnabled());
  }
  for (const [text, said] of [
    ["5..1..1", "the range ends before it starts"],
    ["1..5..0", "the step is not above zero"],
    ["1,1", "1 is there twice"],
    ["cheap", "cheap is no number"],
  ]) {
    await field.fill(text);
    await tab.getByText(said).waitFor();
    assert.ok(await go.isDisabled(), text);
  }
});
