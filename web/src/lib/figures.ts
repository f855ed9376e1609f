/** The figures of a backtest: how they are written, and what each means. */

import type { Row } from "./api";
import { isNumber, number, signed, whole } from "./format";

export interface Figure {
  label: string;
  value: string;
  explanation: string;
  beside?: string;
  /** Whether it is good or bad, as a colour. */
  sign?: 1 | -1 | 0;
}

const signOf = (value: unknown): 1 | -1 | 0 => (isNumber(value) ? (Math.sign(value) as 1 | -1 | 0) : 0);
/** A percentage of the summary, with its sign. */
export const change = (value: unknown): string => (isNumber(value) ? signed(value) : "–");
export const percent = (value: unknown, digits = 1): string => (isNumber(value) ? `${number(value, digits)}%` : "–");
export const plain = (value: unknown, digits = 2): string => (isNumber(value) ? number(value, digits) : "–");
const count = (value: unknown): string => (isNumber(value) ? whole(value) : "–");
const text = (value: unknown): string => (typeof value === "string" ? value : "–");

/** What of the summary is looked at first. */
export function figures(summary: Row): { title: string; figures: Figure[] }[] {
  const of = (name: string): unknown => summary[name] ?? null;
  const minutes = of("mean_minutes_held");
  const held = isNumber(minutes) ? (minutes < 600 ? `${whole(minutes)} min` : `${number(minutes / 1440, 1)} days`) : "–";
  return [
    {
      title: "Portfolio",
      figures: [
        {
          label: "Total return",
          value: change(of("total_return_pct")),
          sign: signOf(of("total_return_pct")),
          beside: `holding everything ${change(of("benchmark_return_pct"))}`,
          explanation: "What the capital gained over all sessions, after costs. Beside it what holding every stock from its first bar on brought: the honest comparison.",
        },
        { label: "A year's return", value: change(of("annual_return_pct")), sign: signOf(of("annual_return_pct")), beside: `volatility ${percent(of("annual_volatility_pct"))}`, explanation: "The total return as if it went on like this for a year. Over few sessions it says nothing." },
        { label: "Sharpe ratio", value: plain(of("sharpe")), beside: `holding everything ${plain(of("benchmark_sharpe"))}`, explanation: "Mean over spread of the sessions' returns, a year's worth, sessions without trades included. The best of many tries has a high one without any merit." },
        { label: "Sortino ratio", value: plain(of("sortino")), explanation: "As the Sharpe ratio, with the spread of losses alone. Not known where no session lost." },
        { label: "Maximum drawdown", value: percent(of("max_drawdown_pct"), 2), sign: signOf(of("max_drawdown_pct")), beside: `holding everything ${percent(of("benchmark_max_drawdown_pct"), 2)}`, explanation: "The deepest fall below an earlier high, at the sessions' ends. It is the deepest of this one history; the next one is deeper." },
        { label: "Longest drawdown", value: isNumber(of("longest_drawdown_sessions")) ? `${count(of("longest_drawdown_sessions"))} sessions` : "–", explanation: "The most sessions in a row below an earlier high." },
        { label: "Exposure", value: percent(of("exposure_pct")), explanation: "How much of the capital was in trades, on average over the sessions." },
        { label: "Turnover", value: isNumber(of("turnover")) ? `${plain(of("turnover"), 1)} a year` : "–", explanation: "How often the capital was turned over in a year. Twice the turnover pays twice the costs." },
      ],
    },
    {
      title: "Trades",
      figures: [
        { label: "Trades", value: count(of("trades")), beside: `of ${count(of("signals"))} signals; ${count(of("not_filled"))} not filled, ${count(of("not_taken"))} not taken`, explanation: "Hits that became trades. Not filled: there was no bar to enter at. Not taken: the portfolio had no free place or no capital." },
        { label: "Hit rate", value: percent(of("hit_rate_pct")), beside: `95%: ${plain(of("hit_rate_lower_pct"), 1)} to ${percent(of("hit_rate_upper_pct"))}`, explanation: "Share of trades with a net gain. Beside it where the true one lies with 95% confidence (Wilson interval): 60% of 20 trades may be anything from 39% to 78%." },
        { label: "Mean net return", value: change(of("mean_return_pct")), sign: signOf(of("mean_return_pct")), explanation: "What a trade brought on average, after costs. Far above the median it lives on a few trades." },
        { label: "Median net return", value: change(of("median_return_pct")), sign: signOf(of("median_return_pct")), explanation: "Half of the trades brought more, half less, after costs." },
        { label: "Mean win", value: change(of("mean_win_pct")), sign: signOf(of("mean_win_pct")), beside: `mean loss ${change(of("mean_loss_pct"))}`, explanation: "What winners brought on average, and what losers cost. A high hit rate with losses far beyond the wins loses money." },
        { label: "Profit factor", value: plain(of("profit_factor")), explanation: "All that was won over all that was lost. Above 1 it gained. Not known, or huge, where hardly anything was lost, which will not last." },
        { label: "Expectancy", value: plain(of("expectancy")), sign: signOf(of("expectancy")), beside: "currency a trade", explanation: "Profit of a trade on average, in money." },
        { label: "Mean MFE", value: change(of("mean_mfe_pct")), beside: `mean MAE ${change(of("mean_mae_pct"))}`, explanation: "The best and the worst that a trade stood at while it was held, on average (MFE and MAE): how much a stop or a target leaves." },
        { label: "Held for", value: held, explanation: "How long a trade was held, on average." },
      ],
    },
    {
      title: "Best and worst",
      figures: [
        { label: "Best session", value: change(of("best_session_return_pct")), sign: signOf(of("best_session_return_pct")), beside: text(of("best_session")), explanation: "The session with the highest return of the portfolio." },
        { label: "Worst session", value: change(of("worst_session_return_pct")), sign: signOf(of("worst_session_return_pct")), beside: text(of("worst_session")), explanation: "The session with the lowest return of the portfolio." },
        { label: "Best symbol", value: text(of("best_symbol")), beside: `profit ${plain(of("best_symbol_profit"), 0)}`, explanation: "The stock that brought the most, in money. If all of the profit is one stock's, it is that stock's and not the scanner's." },
        { label: "Worst symbol", value: text(of("worst_symbol")), beside: `profit ${plain(of("worst_symbol_profit"), 0)}`, explanation: "The stock that brought the least, in money." },
        { label: "Skewness", value: plain(of("skewness")), beside: `kurtosis ${plain(of("kurtosis"))}`, explanation: "How crooked the sessions' returns are: far below 0, many small gains are paid for by few large losses. Kurtosis is 3 for returns without extremes, more with them." },
      ],
    },
  ];
}

/** When the figures mean little, and why. */
export function doubts(summary: Row, request: Row): string[] {
  const of = (name: string): number | null => (isNumber(summary[name]) ? (summary[name] as number) : null);
  const trades = of("trades") ?? 0;
  const said: string[] = [];
  if (trades === 0) return ["There are no trades, so there is nothing to judge by."];
  if (trades < 30) said.push(`${trades === 1 ? "There is one trade" : `There are ${trades} trades`}: below some thirty, everything else here is noise.`);
  if (!Number(request["cost_bps"]) && !Number(request["slippage_bps"])) said.push("Costs are 0: real ones are not. Give costs and slippage under the rules of trading.");
  else if (!Number(request["slippage_bps"])) said.push("Slippage is 0: every trade got the price of its bar. Try what a few bps leave of it.");
  const notTaken = of("not_taken") ?? 0;
  if (notTaken > trades) said.push(`${whole(notTaken)} signals found no place in the portfolio: it was tested more than the scanner.`);
  const [mean, median] = [of("mean_return_pct"), of("median_return_pct")];
  if (mean !== null && median !== null && mean > 0 && median <= 0) said.push("The mean is a gain and the median is not: it lives on a few trades.");
  const [total, benchmark] = [of("total_return_pct"), of("benchmark_return_pct")];
  if (total !== null && benchmark !== null && total < benchmark) said.push(`Holding everything brought more: ${signed(benchmark)} against ${signed(total)}.`);
  const [lower, upper] = [of("hit_rate_lower_pct"), of("hit_rate_upper_pct")];
  if (trades >= 30 && lower !== null && upper !== null && lower < 50 && upper > 50) said.push("The hit rate cannot be told from that of a coin: its interval has 50% in it.");
  const worst = of("mean_loss_pct");
  if (trades >= 30 && worst === null && (of("winners") ?? 0) === trades) said.push("Not a single trade lost: look for what the data does not have before you believe it.");
  return said;
}
