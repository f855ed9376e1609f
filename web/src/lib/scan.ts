/** What is asked for, as the address has it: `scanner`, `date`, `end`, `cutoff`, `symbols`, and parameters as `p.name`. */

import { address } from "./address.svelte";
import type { ScanRequest } from "./api";
import { catalogue, latest, parameters, scanner } from "./catalogue.svelte";
import { values } from "./parameters";

/** The scanner of the address, or the first that there is. */
export function chosen(): string {
  const name = address.get("scanner");
  return scanner(name)?.scanner_type ?? scanner("breakout")?.scanner_type ?? catalogue.scanners[0]?.scanner_type ?? "";
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
