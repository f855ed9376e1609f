/**
 * A live scan over a WebSocket, and how far what it shows can be relied on. It goes on while other tabs are open. What it keeps is bounded, so that
 * it can run all day.
 */

import { ask, Problem, request, socket, type Row, type Values } from "./api";
import { catalogue, preferences } from "./catalogue.svelte";

/** What is scanned again and again. */
export interface Wanted {
  scanner_type: string;
  config?: Values;
  cutoff_time?: string;
  symbols?: string[];
  interval_seconds?: number;
}

interface Update {
  subscription_id: string;
  data_as_of: string;
  results: Row[];
}

interface Heartbeat {
  subscriptions: { subscription_id: string; checked_at: string | null; is_stale: boolean }[];
}

/** Something that has come, gone or happened. */
export interface Entry {
  id: number;
  kind: "new" | "gone" | "note";
  text: string;
  /** As of when in the data, or "". */
  asOf: string;
  /** When here. */
  at: number;
}

export interface Gone {
  symbol: string;
  asOf: string;
  at: number;
}

export interface Raised {
  rule: string;
  session: string;
  asOf: string;
  symbol: string;
  price: number | null;
  firedAt: number;
  /** Whether it came while one was watching. */
  isNew: boolean;
}

interface Since {
  /** When it came, by the clock of this machine; 0: before one was watching, or seen. */
  at: number;
  text: string;
}

export type State = "off" | "connecting" | "live" | "quiet" | "ended" | "stale" | "silent" | "disconnected" | "error";

/** What is said of it. */
export const WORDS: Record<State, string> = {
  off: "STOPPED",
  connecting: "CONNECTING",
  live: "LIVE",
  quiet: "NO NEW BARS",
  ended: "ENDED",
  stale: "STALE",
  silent: "SILENT",
  disconnected: "NO CONNECTION",
  error: "REFUSED",
};

/** The server gives a sign of life each 15 seconds: two of them have not come. */
const SILENT = 31_000;
/** A connection that says nothing for so long is given up for another one. */
const DEAD = 60_000;
const CONNECTING = 10_000;
const LONGEST_WAIT = 30_000;
const NEW_FOR = 120_000;
const GONE_FOR = 300_000;
const [MOST_ENTRIES, MOST_GONE, MOST_ALERTS] = [200, 24, 100];

/** The time of day of a moment of the exchange, to the minute unless there are seconds. */
export const clock = (moment: string): string => moment.slice(11).replace(/\.\d+$/, "").replace(/^(\d\d:\d\d):00$/, "$1");

/** A time of day up to which bars were seen: midnight is the end of the session. */
export const closing = (time: string): string => (time === "00:00" ? "24:00" : time);

/** The session and the time of day up to which bars were seen. Midnight is the end of the day before. */
export function cutoffOf(moment: string): { date: string; cutoff: string } {
  const [date = "", time = ""] = [moment.slice(0, 10), clock(moment)];
  if (time !== "00:00") return { date, cutoff: time };
  return { date: new Date(Date.parse(`${date}T00:00Z`) - 86_400_000).toISOString().slice(0, 10), cutoff: "24:00" };
}

class Live {
  /** Ticks by itself. */
  now = $state(Date.now());
  wanted: Wanted | null = $state.raw(null);
  rows: Row[] = $state.raw([]);
  /** Up to when bars were seen, exchange time, or "". */
  dataAsOf = $state("");
  /** When that last went on; 0: not while one was watching. */
  advancedAt = $state(0);
  updatedAt = $state(0);
  /** The newest result, if it waits to be shown. */
  held: Update | null = $state.raw(null);
  heartbeatAt = $state(0);
  /** When the server last looked whether there are new bars, by its clock. */
  checkedAt = $state("");
  interval = $state(0);
  /** Names that are new, with since when. */
  fresh: Map<string, string> = $state.raw(new Map());
  gone: Gone[] = $state.raw([]);
  log: Entry[] = $state.raw([]);
  alerts: Raised[] = $state.raw([]);
  /** Why there are no alerts, or "". */
  noAlerts = $state("");
  /** Why what is shown may be out of date, in the server's words, or "". */
  staleness = $state("");
  /** What cannot be, as long as it is not asked otherwise. */
  refused: Problem | null = $state.raw(null);
  /** Why the connection was lost. */
  lostBecause = $state("");
  lostAt = $state(0);
  /** When the next attempt is. */
  nextAt = $state(0);
  /** Whether the rows are those of what is asked now. */
  isCurrent = $state(false);
  /** Who is told of new names. */
  onNew: (symbols: string[], asOf: string) => void = () => {};

  #link: "off" | "connecting" | "open" | "down" = $state("off");
  #heardAt = $state(0);
  #startedAt = $state(0);
  /** Milliseconds that lay between the last few steps of the data. */
  #gaps: number[] = $state.raw([]);
  #socket: WebSocket | null = null;
  #id = "";
  #asked: "scan" | "alerts" | null = null;
  #attempts = 0;
  #entries = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Of each hit, since when it is one. */
  #since = new Map<string, Since>();
  /** The session of the rows, or "" before there are any. */
  /** Up to when the data has come, shown or not. */
  #newest = "";
  #session = "";
  #text = "";

  get state(): State {
    if (this.#link === "off") return "off";
    if (this.refused) return "error";
    if (this.#link === "down") return "disconnected";
    if (this.#link === "connecting") return "connecting";
    if (this.now - this.#heardAt > SILENT) return "silent";
    if (this.staleness) return "stale";
    if (!this.isCurrent) return "connecting";
    if (this.isOver) return "ended";
    return this.isQuiet ? "quiet" : "live";
  }

  /** Whether what is scanned will not change any more: the fixed cutoff is reached, or the end that sessions before had. */
  get isOver(): boolean {
    if (!this.dataAsOf) return false;
    const { date, cutoff } = cutoffOf(this.dataAsOf);
    const fixed = this.wanted?.cutoff_time?.slice(0, 5);
    if (fixed && cutoff >= fixed) return true;
    // Of a day that is over here, it is more likely that nothing comes in any more.
    if (date < new Date(this.now).toLocaleDateString("sv")) return false;
    const before = catalogue.sessions.filter((session) => session.session_date < date).slice(0, 10);
    const ends = before.map((session) => session.last_bar.slice(11, 16)).sort();
    const usual = ends[Math.floor(ends.length / 2)];
    // A last bar that starts at 15:29 has ended after that.
    return usual !== undefined && cutoff > usual;
  }

  /** Whether bars have not come for three times as long as is usual. */
  get isQuiet(): boolean {
    const usual = this.#gaps.toSorted((one, other) => one - other)[Math.floor(this.#gaps.length / 2)];
    const since = this.now - (this.advancedAt || this.#startedAt);
    return usual === undefined ? since > Math.max(90_000, 3000 * this.interval) : since > Math.max(3 * usual, 2000 * this.interval, 5000);
  }

  /** Follows a scan. One that is followed already goes on. */
  start(wanted: Wanted): void {
    const text = JSON.stringify(wanted);
    if (text === this.#text && this.#link !== "off") return;
    const isFirst = this.#link === "off";
    this.wanted = wanted;
    this.#text = text;
    this.refused = null;
    this.staleness = "";
    this.isCurrent = false;
    this.#session = "";
    this.#newest = "";
    this.#since = new Map();
    this.fresh = new Map();
    this.gone = [];
    this.#gaps = [];
    this.advancedAt = 0;
    if (isFirst) {
      this.rows = [];
      this.dataAsOf = "";
      this.updatedAt = this.heartbeatAt = 0;
      this.#attempts = 0;
      this.now = Date.now();
      this.#timer = setInterval(() => this.#tick(), 1000);
      addEventListener("online", this.again);
      document.addEventListener("visibilitychange", this.#seen);
      void this.#recent();
      this.#connect();
    } else if (this.#link === "open") {
      this.#note("Another question is asked");
      if (this.#id) this.#send({ type: "unsubscribe", subscription_id: this.#id });
      this.#subscribe();
    } else {
      this.again();
    }
  }

  stop(): void {
    if (this.#link === "off") return;
    clearInterval(this.#timer);
    removeEventListener("online", this.again);
    document.removeEventListener("visibilitychange", this.#seen);
    this.#drop();
    this.#link = "off";
    this.#text = "";
    this.wanted = null;
    this.refused = null;
    this.staleness = "";
    this.isCurrent = false;
    this.fresh = new Map();
    this.#note("Stopped");
  }

  /** Tries at once, without waiting for the next attempt. */
  again = (): void => {
    if (this.#link === "down" || this.refused) {
      this.refused = null;
      this.#drop();
      this.#connect();
    }
  };

  /** Marks are taken away: they have been seen. */
  seen(): void {
    this.fresh = new Map();
    this.#since.forEach((known) => (known.at = 0));
  }

  #seen = (): void => {
    if (document.visibilityState !== "visible") return;
    this.#tick();
    if (this.#link === "down") this.again();
  };

  #connect(): void {
    this.#link = "connecting";
    this.#heardAt = this.#startedAt = Date.now();
    this.heartbeatAt = 0;
    this.staleness = "";
    const own = socket("/ws/live-scan");
    this.#socket = own;
    own.onopen = () => {
      this.#link = "open";
      this.#heardAt = Date.now();
      this.#subscribe();
    };
    own.onmessage = (event) => this.#take(JSON.parse(event.data));
    own.onclose = (event) => {
      if (this.#socket !== own) return;
      this.#lost(event.code === 1001 ? "The server has ended." : event.reason ? `The server closed the connection: ${event.reason}.` : "The connection broke off.");
    };
  }

  #drop(): void {
    this.held = null;
    const old = this.#socket;
    this.#socket = null;
    this.#id = "";
    if (!old) return;
    old.onopen = old.onmessage = old.onclose = null;
    old.close();
  }

  #lost(because: string): void {
    const wasOpen = this.#link === "open";
    this.#drop();
    this.#link = "down";
    this.#attempts = wasOpen ? 0 : this.#attempts + 1;
    if (wasOpen) {
      this.lostAt = Date.now();
      this.#note(because);
    }
    this.lostBecause = because;
    // 1, 2, 4 … 30 seconds, each a bit other, so that many pages do not come back at the same moment.
    const wait = Math.min(LONGEST_WAIT, 1000 * 2 ** this.#attempts);
    this.nextAt = Date.now() + wait * (0.75 + Math.random() / 2);
    if (!wasOpen) void this.#why();
  }

  /** A page is not told why a WebSocket was refused; a request is. */
  async #why(): Promise<void> {
    try {
      await request("/ws/live-scan");
    } catch (error) {
      if (this.#link !== "down" || !(error instanceof Problem) || error.status === 426) return;
      this.lostBecause = error.message;
      if (error.status === 401 || error.status === 403) this.refused = error;
    }
  }

  #send(message: unknown): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #subscribe(): void {
    this.held = null;
    this.#id = "";
    this.#asked = "scan";
    this.isCurrent = false;
    this.#startedAt = Date.now();
    this.#send({ type: "subscribe", ...this.wanted });
  }

  #take(message: { type: string } & Record<string, unknown>): void {
    this.#heardAt = this.now = Date.now();
    const id = message["subscription_id"];
    switch (message.type) {
      case "subscribed":
        if (id === "alerts") {
          this.#asked = null;
          this.noAlerts = "";
        } else {
          this.#id = String(id);
          this.interval = Number(message["interval_seconds"]);
          // One after the other, so that an error is known to be of the one or of the other.
          this.#asked = "alerts";
          this.#send({ type: "subscribe_alerts" });
        }
        break;
      case "scan_update":
        if (id !== this.#id) break;
        this.#advance((message as unknown as Update).data_as_of);
        this.staleness = "";
        // After a break, and at first, there is nothing on the page that one would want to keep.
        if (preferences.auto_refresh_ui || !this.isCurrent) this.#update(message as unknown as Update);
        else this.held = message as unknown as Update;
        break;
      case "stale":
        if (id !== this.#id) break;
        this.staleness = String(message["detail"]);
        this.#note(`Stale: ${this.staleness}`);
        break;
      case "heartbeat": {
        this.heartbeatAt = this.#heardAt;
        const own = (message as unknown as Heartbeat).subscriptions.find((subscription) => subscription.subscription_id === this.#id);
        this.checkedAt = own?.checked_at ?? "";
        if (own && !own.is_stale) this.staleness = "";
        else if (own && !this.staleness) this.staleness = "The last look at the data failed.";
        break;
      }
      case "alert":
        this.#raise({
          rule: String(message["rule"]),
          session: String(message["session"]),
          asOf: closing(clock(String(message["data_as_of"]))),
          symbol: String(message["symbol"]),
          price: typeof message["price"] === "number" ? message["price"] : null,
          firedAt: this.now,
          isNew: true,
        });
        break;
      case "error":
        if (this.#asked === "alerts" && id === undefined) {
          this.#asked = null;
          this.noAlerts = String(message["detail"]);
        } else if (id === undefined || id === this.#id) {
          const parameter = message["parameter"];
          this.refused = new Problem(Number(message["status"]), String(message["error"]), String(message["detail"]), typeof parameter === "string" ? parameter : null);
          // What is there answers another question.
          this.rows = [];
          this.dataAsOf = "";
          this.updatedAt = 0;
          this.fresh = new Map();
          this.isCurrent = false;
          this.#note(this.refused.message);
        }
        break;
    }
  }

  /** Shows the result that waits, where results are not shown as they come. */
  show(): void {
    if (this.held) this.#update(this.held);
  }

  /** Takes note of up to when the data has come, when it comes. */
  #advance(asOf: string): void {
    const isFirst = this.#newest === "";
    if (asOf === this.#newest) return;
    if (!isFirst) {
      if (this.advancedAt && !this.lostAt) this.#gaps = [...this.#gaps.slice(-9), this.now - this.advancedAt];
      this.advancedAt = this.now;
    }
    this.#newest = asOf;
  }

  #update({ data_as_of: asOf, results }: Update): void {
    this.held = null;
    const { date } = cutoffOf(asOf);
    const isFirst = this.#session === "";
    const isSession = !isFirst && date !== this.#session;
    const hadBroken = this.lostAt > 0;

    if (isSession) this.#since = new Map();
    const text = clock(asOf);
    const since = new Map<string, Since>();
    const added: string[] = [];
    const times = new Map<string, number>();
    for (const row of results) {
      const symbol = String(row["symbol"]);
      let known = since.get(symbol) ?? this.#since.get(symbol);
      if (!known) {
        // When it came is known only of what came while one was watching.
        known = { at: isFirst ? 0 : this.now, text: isFirst || hadBroken ? `≤${text}` : text };
        added.push(symbol);
      }
      since.set(symbol, known);
      row["since"] = known.text;
      // A scanner of one's own may have a name twice.
      const time = (times.get(symbol) ?? 0) + 1;
      times.set(symbol, time);
      row["row"] = time === 1 ? symbol : `${symbol} ${time}`;
    }
    const removed = [...this.#since.keys()].filter((symbol) => !since.has(symbol));
    this.#since = since;
    this.#session = date;
    this.rows = results;
    this.dataAsOf = asOf;
    this.updatedAt = this.now;
    this.isCurrent = true;
    this.lostAt = 0;
    this.#attempts = 0;

    if (isFirst) this.#note(`${results.length} ${results.length === 1 ? "name" : "names"} at the start`, asOf);
    else if (isSession) this.#note(`A new session: ${date}`, asOf);
    else if (hadBroken) this.#note(`Connected again: ${added.length} new and ${removed.length} gone meanwhile`, asOf);
    if (!isFirst) {
      if (added.length + removed.length) {
        this.#enter([...added.map((symbol) => ({ kind: "new" as const, text: symbol })), ...removed.map((symbol) => ({ kind: "gone" as const, text: symbol }))], asOf);
        const left = this.gone.filter(({ symbol }) => !since.has(symbol) && !removed.includes(symbol));
        this.gone = [...removed.map((symbol) => ({ symbol, asOf, at: this.now })), ...left].slice(0, MOST_GONE);
      }
      if (added.length) this.onNew(added, asOf);
    }
    this.#mark();
  }

  #mark(): void {
    const fresh = [...this.#since].filter(([, known]) => this.now - known.at < NEW_FOR);
    if (fresh.length || this.fresh.size) this.fresh = new Map(fresh.map(([symbol, known]) => [symbol, `new, since ${known.text}`]));
  }

  #raise(alert: Raised): void {
    const of = ({ rule, session, symbol }: Raised): string => `${rule}|${session}|${symbol}`;
    this.alerts = [alert, ...this.alerts.filter((known) => of(known) !== of(alert))].toSorted((one, other) => other.firedAt - one.firedAt).slice(0, MOST_ALERTS);
  }

  /** The alerts before one was watching. */
  async #recent(): Promise<void> {
    interface Stored {
      fired_at: string;
      rule: string;
      session_date: string;
      data_as_of: string;
      symbol: string;
      price: number | null;
    }
    try {
      const stored = await ask<Stored[]>("/alerts?limit=50");
      const known = new Set(this.alerts.map(({ rule, session, symbol }) => `${rule}|${session}|${symbol}`));
      stored
        .filter(({ rule, session_date: session, symbol }) => !known.has(`${rule}|${session}|${symbol}`))
        .forEach(({ fired_at, rule, session_date: session, data_as_of, symbol, price }) =>
          this.#raise({ rule, session, asOf: closing(data_as_of.replace(/:00$/, "")), symbol, price, firedAt: Date.parse(fired_at), isNew: false }),
        );
    } catch (error) {
      this.noAlerts = error instanceof Error ? error.message : String(error);
    }
  }

  #note(text: string, asOf = ""): void {
    this.#enter([{ kind: "note", text }], asOf);
  }

  #enter(entries: { kind: Entry["kind"]; text: string }[], asOf: string): void {
    const at = Date.now();
    const made = entries.slice(0, MOST_ENTRIES).map(({ kind, text }) => ({ id: (this.#entries += 1), kind, text, asOf: asOf && clock(asOf), at }));
    this.log = [...made, ...this.log].slice(0, MOST_ENTRIES);
  }

  #tick(): void {
    this.now = Date.now();
    if (this.fresh.size) this.#mark();
    if (this.gone.some(({ at }) => this.now - at > GONE_FOR)) this.gone = this.gone.filter(({ at }) => this.now - at <= GONE_FOR);
    if (this.refused) return;
    if (this.#link === "down" && this.now >= this.nextAt) this.#connect();
    else if (this.#link === "connecting" && this.now - this.#heardAt > CONNECTING) this.#lost("The server does not answer.");
    else if (this.#link === "open" && this.now - this.#heardAt > DEAD) this.#lost("The server has said nothing for a minute.");
  }
}

/** The live scan of this page. */
export const live = new Live();
