// The programs of docs/clients/node.md, on a market that this client has made itself.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { DuckDBInstance } from "@duckdb/node-api";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../../..");
const extension = path.resolve(process.env.STOCKSCAN_EXTENSION_1_5 ?? path.join(root, "dist/v1/stockscan.duckdb_extension"));
const folder = mkdtempSync(path.join(tmpdir(), "stockscan-node-"));
const market = path.join(folder, "market.duckdb");

before(async () => {
  assert.ok(existsSync(extension), `${extension} is missing; 'cargo xtask extension' builds it, STOCKSCAN_EXTENSION_1_5 names another`);
  const instance = await DuckDBInstance.create(market, { allow_unsigned_extensions: "true" });
  const connection = await instance.connect();
  await connection.run(`LOAD '${extension}'`);
  await connection.run("CREATE TABLE bars AS FROM stockscan.demo_bars()");
  connection.closeSync();
  instance.closeSync();

  symlinkSync(path.join(here, "node_modules"), path.join(folder, "node_modules"));
  const page = readFileSync(path.join(root, "docs/clients/node.md"), "utf8");
  for (const [, block, name] of page.matchAll(/^```javascript\n(\/\/ ([\w.]+)\n[^]*?)^```/gm)) {
    writeFileSync(path.join(folder, name), block.replace("/path/to/market.duckdb", market).replace("/path/to/stockscan.duckdb_extension", extension));
  }
});

after(() => rmSync(folder, { recursive: true }));

function lines(program) {
  return execFileSync(process.execPath, [program], { cwd: folder, encoding: "utf8" }).trim().split("\n");
}

test("a scan, row by row", async () => {
  const hits = lines("first.mjs");
  assert.ok(hits.length > 1, hits.join("\n"));
  for (const hit of hits) assert.match(hit, /^DEMO\d{4} [\d.]+ [\d.]+$/);
});

test("outcomes, by column: one for each hit", async () => {
  const outcomes = lines("outcomes.mjs");
  assert.ok(outcomes.length > 5, outcomes.join("\n"));
  for (const outcome of outcomes) assert.match(outcome, /^DEMO\d{4} -?[\d.]+ %$/);
});

test("an error is that of the scanner", async () => {
  const { connect } = await import(path.join(folder, "market.mjs"));
  const connection = await connect();
  await assert.rejects(connection.run("FROM stockscan.scan_breakout('2025-01-15', consolidation_period := 0)"), /consolidation_period.*got 0/);
});
