import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
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
