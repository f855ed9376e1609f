/** The state of the page is its address: `#/scan?scanner=breakout&date=2025-01-15`. What is not in it is as at first. */

export const TABS = ["live", "scan", "chart", "performance", "backtest", "optimize", "history", "market", "settings"] as const;
export type Tab = (typeof TABS)[number];

function parsed(hash: string): { tab: Tab; values: Record<string, string> } {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const tab = TABS.find((known) => known === path) ?? "scan";
  return { tab, values: Object.fromEntries(new URLSearchParams(search)) };
}

const current = $state(parsed(location.hash));

function hashOf(tab: Tab, values: Record<string, string>): string {
  const search = new URLSearchParams(Object.entries(values)).toString();
  return `#/${tab}${search && `?${search}`}`;
}

type Changes = Record<string, string | number | null | undefined>;

export const address = {
  get tab(): Tab {
    return current.tab;
  },
  /** A value of the address, or "" if it is not there. */
  get(name: string): string {
    return current.values[name] ?? "";
  },
  /** All values whose names begin with a prefix, without it: `p.min_price` of the prefix `p.`. */
  all(prefix: string): Record<string, string> {
    const own = Object.entries(current.values).filter(([name]) => name.startsWith(prefix));
    return Object.fromEntries(own.map(([name, value]) => [name.slice(prefix.length), value]));
  },
  /** Changes values of this tab; null and "" take one out. Steps that are not worth going back to replace the last one. */
  set(changes: Changes, { push = false } = {}): void {
    const values = { ...current.values };
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") delete values[name];
      else values[name] = String(value);
    }
    const hash = hashOf(current.tab, values);
    if (hash === location.hash) return;
    current.values = values;
    if (push) history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
  },
  /** The link to a tab. */
  to(tab: Tab, values: Changes = {}): string {
    const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
    return hashOf(tab, Object.fromEntries(given.map(([name, value]) => [name, String(value)])));
  },
  /** Goes to a tab. */
  go(tab: Tab, values: Changes = {}): void {
    location.hash = this.to(tab, values);
  },
};

function follow(): void {
  const { tab, values } = parsed(location.hash);
  current.tab = tab;
  current.values = values;
}
// hashchange alone misses steps between entries of pushState in some browsers.
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
