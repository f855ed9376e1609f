/** The server's interface. Shapes are those of /api/v1/scanner/openapi.json. */

export const PREFIX = "/api/v1/scanner";

/** A value of a row. */
export type Cell = string | number | boolean | null | Cell[] | { [name: string]: Cell };
export type Row = Record<string, Cell>;

export interface Parameter {
  name: string;
  type: string;
  default: string | null;
  min: number | null;
  max: number | null;
  step: number | null;
  choices: string[] | null;
  unit: string | null;
  doc: string | null;
}

export interface Scanner {
  scanner_type: string;
  function_name: string;
  is_built_in: boolean;
  title: string;
  documentation: string;
  examples: string[];
  parameters: Parameter[];
}

export type Values = Record<string, Cell>;

export interface DefaultConfiguration {
  default: Values;
  scanners: Record<string, Values>;
}

export interface ScanRequest {
  scanner_type: string;
  scan_date?: string;
  start_date?: string;
  end_date?: string;
  cutoff_time?: string;
  end_of_day_time?: string;
  symbols?: string[];
  config?: Values;
}

export interface ScanResponse {
  scan_id: string;
  scanner_type: string;
  scan_date: string | null;
  start_date: string;
  end_date: string;
  total_results: number;
  successful_breakouts: number | null;
  success_rate: number | null;
  avg_price_change: number | null;
  avg_probability_score: number | null;
  execution_time_ms: number;
  results: Row[];
  timestamp: string;
}

export interface Explanation {
  scanner_type: string;
  start_date: string;
  end_date: string;
  sql: string;
  candidates: number | null;
  steps: { condition: string; parameters: string; survivors: number }[];
  unavailable: string | null;
}

export interface Session {
  session_date: string;
  symbols: number;
  bars: number;
  first_bar: string;
  last_bar: string;
  volume: number;
}

export interface Bar extends Row {
  symbol: string;
  ts: string;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export type JobStatus = "queued" | "running" | "done" | "failed" | "cancelled" | "interrupted";

export interface Job<Result = Row> {
  job_id: string;
  kind: "backtest" | "optimize";
  status: JobStatus;
  progress: number;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  request: Row;
  result?: Result;
  error?: { error: string; detail: string };
}

/** What the server refuses with: RFC 9457. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    message: string,
    readonly parameter: string | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "Problem";
  }
}

const KEY = "stockscan.key";

/** The key that requests are made with, if the server needs one. Kept in this browser alone. */
export const key = {
  get: (): string | null => localStorage.getItem(KEY),
  set: (value: string | null): void => (value ? localStorage.setItem(KEY, value) : localStorage.removeItem(KEY)),
};

/** What is called when the server wants a key that it has not got. */
export const onUnauthorized: { call: (detail: string) => void } = { call: () => {} };

async function problem(response: Response): Promise<Problem> {
  const after = Number(response.headers.get("Retry-After")) || null;
  try {
    const document = await response.json();
    return new Problem(response.status, document.error ?? "error", document.detail ?? response.statusText, document.parameter ?? null, after);
  } catch {
    return new Problem(response.status, "error", `the server answered ${response.status} ${response.statusText}`, null, after);
  }
}

interface Options {
  method?: string;
  body?: unknown;
  accept?: string;
  signal?: AbortSignal | undefined;
}

/** One request. Rejects with a `Problem`, or with the browser's AbortError. */
export async function request(path: string, { method, body, accept, signal }: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept ?? "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const secret = key.get();
  if (secret) headers["Authorization"] = `Bearer ${secret}`;
  let response: Response;
  try {
    response = await fetch(PREFIX + path, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "the server cannot be reached; is 'scanner serve' still running?");
  }
  if (response.ok) return response;
  const refused = await problem(response);
  if (response.status === 401) onUnauthorized.call(refused.message);
  throw refused;
}

/** One request whose answer is a document. */
export async function ask<T>(path: string, options: Options = {}): Promise<T> {
  return (await request(path, options)).json();
}

/** `?a=1&b=2` of what is given; what is undefined, null or empty is left out. */
export function query(given: Record<string, string | number | boolean | null | undefined>): string {
  const kept = Object.entries(given).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** A WebSocket to the server. A page cannot set headers there, so the key goes as a protocol. */
export function socket(path: string): WebSocket {
  const url = new URL(PREFIX + path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const secret = key.get();
  return new WebSocket(url, secret ? ["stockscan", `key.${secret}`] : ["stockscan"]);
}

export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
