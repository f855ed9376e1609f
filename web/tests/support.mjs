/** A real server on demo data and a real browser, for the tests of this folder: `node --test`. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after } from "node:test";
import { chromium } from "playwright-core";

const SCANNER = resolve(process.env.STOCKSCAN_SCANNER ?? join(import.meta.dirname, "../../target/debug/scanner"));
const CHROMIUM = process.env.STOCKSCAN_CHROMIUM ?? "/usr/bin/chromium";

for (const [file, help] of [
  [SCANNER, "'cargo build -p scanner' builds it, STOCKSCAN_SCANNER names another"],
  [CHROMIUM, "Debian: apt-get install chromium; STOCKSCAN_CHROMIUM names another"],
]) {
  assert.ok(existsSync(file), `${file} is missing; ${help}`);
}

/** Nothing of whoever runs the tests. */
function environment(folder) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(STOCKSCAN_|RUST_|XDG_)/.test(name));
  return { ...Object.fromEntries(kept), HOME: folder, XDG_CONFIG_HOME: join(folder, ".config"), NO_COLOR: "1" };
}

/** Runs the command in a folder, and gives what it printed. */
export function scanner(folder, ...args) {
  return execFileSync(SCANNER, args, { cwd: folder, env: environment(folder), encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

let demo = null;

/** A folder with a market of 50 stocks, which is made once. */
export function market() {
  const folder = mkdtempSync(join(tmpdir(), "stockscan-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  if (!demo) {
    demo = mkdtempSync(join(tmpdir(), "stockscan-demo-"));
    process.on("exit", () => rmSync(demo, { recursive: true, force: true }));
    scanner(demo, "-q", "demo");
  }
  cpSync(demo, folder, { recursive: true });
  return folder;
}

/** A running `scanner serve`. */
export class Server {
  static async start(folder, ...options) {
    const server = new Server();
    const port = options.includes("--port") ? [] : ["--port", "0"];
    server.folder = folder;
    server.logFile = join(folder, "server.log");
    const log = openSync(server.logFile, "a");
    const begin = readFileSync(server.logFile).length;
    server.process = spawn(SCANNER, ["serve", ...port, ...options], { cwd: folder, env: environment(folder), stdio: ["ignore", log, log] });
    server.ended = new Promise((done) => server.process.on("exit", (code) => done(code)));
    let end;
    server.ended.then((code) => (end = code ?? "a signal"));
    for (;;) {
      const found = / at (http:\/\/\S+?:(\d+))\//.exec(server.log().slice(begin));
      if (found) {
        server.root = found[1];
        server.port = Number(found[2]);
        after(() => server.stop());
        return server;
      }
      assert.equal(end, undefined, `the server ended with ${end}\n${server.log()}`);
      await new Promise((wait) => setTimeout(wait, 20));
    }
  }

  log() {
    return readFileSync(this.logFile, "utf8");
  }

  /** A document of the interface. */
  async ask(path, body, method) {
    const init = body === undefined ? { method } : { method: method ?? "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    const response = await fetch(`${this.root}/api/v1/scanner${path}`, init);
    assert.ok(response.ok, `${path}: ${response.status} ${await response.clone().text()}`);
    return response.json();
  }

  async stop(signal = "SIGTERM") {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill("SIGCONT");
      this.process.kill(signal);
    }
    await this.ended;
  }
}

let browser = null;

/**
 * A page of its own. What the page must never do fails the test at its end: errors, refusals of its policy, requests to elsewhere.
 * `allowed` are patterns of messages that the test expects.
 */
export async function page({ root, theme = "dark", size = [1440, 900], allowed = [], storage = {} }) {
  browser ??= await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const context = await browser.newContext({ viewport: { width: size[0], height: size[1] }, acceptDownloads: true });
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: root });
  const opened = await context.newPage();
  opened.setDefaultTimeout(20_000);
  const bad = [];
  const note = (text) => allowed.some((pattern) => pattern.test(text)) || bad.push(text);
  opened.on("pageerror", (error) => note(`error: ${error.message}`));
  opened.on("console", (message) => ["error", "warning"].includes(message.type()) && note(`console: ${message.text()} ${message.location().url}`));
  opened.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(root) || note(`outside: ${request.url()}`));
  await opened.addInitScript(([chosen, values]) => {
    if (sessionStorage.getItem("begun")) return;
    sessionStorage.setItem("begun", "1");
    localStorage.setItem("stockscan.theme", chosen);
    for (const [name, value] of Object.entries(values)) localStorage.setItem(name, value);
  }, [theme, storage]);
  after(async () => {
    await context.close();
    assert.deepEqual(bad, [], "what the page must never do");
  });
  return opened;
}

after(async () => {
  await browser?.close();
  browser = null;
});

/** The texts of a table's column, top to bottom, of the rows in sight. */
export async function column(of, heading) {
  return of.evaluate((box, wanted) => {
    const headings = [...box.querySelectorAll("thead th")].map((th) => th.innerText.replace(/[▾▴]/g, "").trim());
    const at = headings.indexOf(wanted);
    if (at < 0) throw new Error(`no column '${wanted}' among ${headings.join(", ")}`);
    return [...box.querySelectorAll("tbody tr:not(.space)")].map((tr) => tr.cells[at].innerText.trim());
  }, heading);
}
