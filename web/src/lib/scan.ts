/** What is asked for, as the address has it: `scanner`, `date`, `end`, `cutoff`, `symbols`, and parameters as `p.name`. */

import { address } from "./address.svelte";
import type { Row, ScanRequest } from "./api";
import { catalogue, configured, latest, parameters, preferences, scanner } from "./catalogue.svelte";
import { values } from "./parameters";
import { type Order, orderOf } from "./table";

/** The scanner of the address, or the configured one, or the first that there is. */
export function chosen(): string {
  const name = address.get("scanner");
  return scanner(name)?.scanner_type ?? scanner(preferences.default_scanner)?.scanner_type ?? catalogue.scanners[0]?.scanner_type ?? "";
}

/** The cutoff of a scanner where none is given. */
export function cutoffOf(name: string): string {
  return String(configured(name)["cutoff_time"] ?? "09:50").slice(0, 5);
}

/** What tells a hit from the others, in the address: `row=2025-01-15|DEMO0044`. */
export const keyOf = (row: Row): string => `${row["scan_date"]}|${row["symbol"]}`;

/** What became of a hit: not known at the cutoff. */
export const AFTERWARDS = ["eod_price", "price_change_pct", "day_range_pct", "breakout_successful"];

/** The order of the address: not one by what became of the hits, as long as that is not to be seen. */
export function orderOfHits(isAfter: boolean): Order | null {
  const order = orderOf(address.get("sort"));
  return order && !isAfter && AFTERWARDS.includes(order.name) ? null : order;
}

export function symbolsOf(text: string): string[] {
  return text
    .split(/[\s,]+/)
    .filter(Boolean);
}

/** The request of the address. */
export function scanRequest(): ScanRequest {
  const name = chosen();
  const date = address.get("date") || latest();
  const end = address.get("end");
  const config = values(parameters(name), address.all("p."));
  const symbols = symbolsOf(address.get("symbols"));
  const cutoff = address.get("cutoff");
  return {
    scanner_type: name,
    ...(end && end !== date ? { start_date: date, end_date: end } : { scan_date: date }),
    ...(cutoff && { cutoff_time: cutoff }),
    ...(symbols.length && { symbols }),
    ...(Object.keys(config).length && { config }),
  };
}
