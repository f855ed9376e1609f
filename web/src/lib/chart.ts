/** Candles, volume, levels and indicators of one stock, drawn with lightweight-charts. Times are the exchange's, as they are in the data. */

import {
  CandlestickSeries,
  ColorType,
  createChart,
  createSeriesMarkers,
  CrosshairMode,
  HistogramSeries,
  type IChartApi,
  type IPrimitivePaneRenderer,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type ISeriesPrimitive,
  LineSeries,
  LineStyle,
  type IPriceLine,
  type MouseEventParams,
  type SeriesAttachedParameter,
  type SeriesMarker,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Bar } from "./api";
import { compact, number } from "./format";
import { colour } from "./theme.svelte";

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

/** The exchange's clock as lightweight-charts counts: it shows UTC. */
export const seconds = (ts: string): UTCTimestamp => (Date.parse(`${ts.length === 10 ? `${ts}T00:00` : ts}Z`) / 1000) as UTCTimestamp;

/** A price that stands for something: a level of the scanner, an entry, a stop. */
export interface Level {
  price: number;
  title: string;
  kind: "level" | "price" | "entry" | "exit";
}

export interface Line {
  /** Where it is drawn: with the prices, or in a pane of its own. */
  pane: "price" | string;
  title: string;
  points: { ts: string; value: number | null }[];
  isHistogram: boolean;
}

export interface Picture {
  bars: Bar[];
  levels: Level[];
  lines: Line[];
  /** Up to when everything was known, 24:00 at the latest. What is later is shaded. */
  cutoff: { date: string; time: string };
  /** Of a bar; 0: as they are stored. */
  minutes: number;
  marks: { ts: string; text: string; kind: "entry" | "exit" }[];
}

/** So many bars from the first one, the ones before it are fetched. */
const NEAR = 200;

const PALETTE = ["#3b82f6", "#d97706", "#a855f7", "#0d9488", "#e11d48", "#65a30d", "#0891b2", "#c026d3"];

/** A line at the cutoff, and a shade over what was not known then. */
class Cutoff implements ISeriesPrimitive<Time> {
  #chart: IChartApi | null = null;
  #x: number | null = null;
  #redraw: () => void = () => {};
  #at: UTCTimestamp | null = null;
  #last: UTCTimestamp | null = null;

  attached({ chart, requestUpdate }: SeriesAttachedParameter<Time>): void {
    this.#chart = chart as IChartApi;
    this.#redraw = requestUpdate;
  }

  /** The last bar that was known, if the one after it is shown, too. */
  set(at: UTCTimestamp | null, last: UTCTimestamp | null): void {
    this.#at = at;
    this.#last = last;
    this.#redraw();
  }

  updateAllViews(): void {
    this.#x = this.#at === null || !this.#chart ? null : this.#chart.timeScale().timeToCoordinate(this.#at);
    const spacing = this.#chart?.timeScale().options().barSpacing ?? 6;
    if (this.#x !== null) this.#x += spacing / 2;
  }

  paneViews() {
    const x = this.#x;
    const hasFuture = this.#last !== null && this.#at !== null && this.#last > this.#at;
    const draw = (target: Target): void => {
      if (x === null) return;
      target.useMediaCoordinateSpace(({ context, mediaSize }) => {
        if (hasFuture) {
          context.globalAlpha = 0.07;
          context.fillStyle = colour("accent");
          context.fillRect(x, 0, mediaSize.width - x, mediaSize.height);
          context.globalAlpha = 1;
        }
        context.strokeStyle = colour("accent");
        context.setLineDash([4, 3]);
        context.beginPath();
        context.moveTo(x, 0);
        context.lineTo(x, mediaSize.height);
        context.stroke();
      });
    };
    return [{ zOrder: () => "bottom" as const, renderer: () => ({ draw }) }];
  }
}

export class SymbolPlot {
  readonly chart: IChartApi;
  readonly #candles: ISeriesApi<"Candlestick">;
  readonly #volume: ISeriesApi<"Histogram">;
  readonly #cutoff = new Cutoff();
  readonly #marks: ISeriesMarkersPluginApi<Time>;
  #levels: IPriceLine[] = [];
  #lines: ISeriesApi<"Line" | "Histogram">[] = [];
  #bars = new Map<number, Bar>();
  /** The place of the last bar that had ended by the cutoff; -1: none. */
  #known = -1;

  /** `describe` is told of the bar under the pointer, if there is one; `lookBack` when one has come near to the first bar. */
  constructor(box: HTMLElement, describe: (bar: Bar | null) => void, lookBack: () => void) {
    this.chart = createChart(box, {
      autoSize: true,
      // Said below the chart instead: its own logo would need styles that this page's policy refuses.
      layout: { attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 11 },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: 0.02 },
      rightPriceScale: { borderVisible: false },
      localization: { priceFormatter: (price: number) => number(price) },
    });
    this.#candles = this.chart.addSeries(CandlestickSeries, { priceLineVisible: false, lastValueVisible: false });
    this.#candles.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.22 } });
    this.#candles.attachPrimitive(this.#cutoff);
    this.#volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "custom", formatter: compact },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#marks = createSeriesMarkers(this.#candles, []);
    this.chart.subscribeCrosshairMove((event: MouseEventParams) => describe(this.#bars.get(event.time as number) ?? null));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < NEAR) lookBack();
    });
    this.paint();
  }

  /** Colours, anew when the theme changes. */
  paint(): void {
    const [text, line, surface, up, down] = [colour("muted"), colour("line"), colour("surface"), colour("up"), colour("down")];
    this.chart.applyOptions({
      layout: { background: { type: ColorType.Solid, color: surface }, textColor: text, panes: { separatorColor: line } },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      timeScale: { borderColor: line },
    });
    this.#candles.applyOptions({ upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down });
  }

  draw({ bars, levels, lines, cutoff, minutes, marks }: Picture, { keepView = false } = {}): void {
    // Who looks at the newest bar goes on with it; else the view stays where it is.
    const logical = keepView ? this.chart.timeScale().getVisibleLogicalRange() : null;
    const isAtEnd = logical !== null && logical.to >= this.#bars.size - 1;
    const view = keepView && !isAtEnd ? this.chart.timeScale().getVisibleRange() : null;
    const grown = bars.length - this.#bars.size;
    const [up, down] = [`${colour("up")}80`, `${colour("down")}80`];
    this.#bars = new Map(bars.map((bar) => [seconds(bar.ts), bar]));
    this.#candles.setData(bars.map(({ ts, open, high, low, close }) => ({ time: seconds(ts), open, high, low, close })));
    this.#volume.setData(bars.map(({ ts, open, close, volume }) => ({ time: seconds(ts), value: volume, color: close >= open ? up : down })));

    this.#levels.forEach((level) => this.#candles.removePriceLine(level));
    const colours = { level: colour("warn"), price: colour("accent"), entry: colour("accent"), exit: colour("muted") };
    this.#levels = levels.map(({ price, title, kind }) =>
      this.#candles.createPriceLine({ price, title, color: colours[kind], lineWidth: 1, lineStyle: kind === "level" ? LineStyle.Dashed : LineStyle.Dotted, axisLabelVisible: true }),
    );

    // A bar is known once it has ended. How long those are that are stored is seen from how they follow each other.
    const times = bars.map((bar) => seconds(bar.ts));
    const length = minutes ? minutes * 60 : times.reduce((least, time, index) => (index ? Math.min(least, time - (times[index - 1] ?? 0)) : least), 86_400);
    const at = cutoff.time === "24:00" ? seconds(cutoff.date) + 86_400 : seconds(`${cutoff.date}T${cutoff.time}`);
    this.#known = times.findLastIndex((time) => time + length <= at);
    this.#cutoff.set(times[this.#known] ?? null, times.at(-1) ?? null);

    this.#lines.forEach((line) => this.chart.removeSeries(line));
    const panes = [...new Set(lines.map((line) => line.pane).filter((pane) => pane !== "price"))];
    this.#lines = lines.map((line, index) => {
      const pane = line.pane === "price" ? 0 : panes.indexOf(line.pane) + 1;
      const color = PALETTE[index % PALETTE.length] ?? "#3b82f6";
      const shared = { color, title: line.title, priceLineVisible: false, lastValueVisible: true };
      const series = line.isHistogram ? this.chart.addSeries(HistogramSeries, shared, pane) : this.chart.addSeries(LineSeries, { ...shared, lineWidth: 1 }, pane);
      series.setData(line.points.map(({ ts, value }) => (value === null ? { time: seconds(ts) } : { time: seconds(ts), value })));
      return series;
    });
    this.chart.panes().forEach((pane, index) => pane.setStretchFactor(index === 0 ? 3 : 1));

    const pictured: SeriesMarker<Time>[] = marks
      .map(({ ts, text, kind }) => ({
        time: this.#barAt(bars, ts),
        position: kind === "entry" ? ("belowBar" as const) : ("aboveBar" as const),
        shape: kind === "entry" ? ("arrowUp" as const) : ("arrowDown" as const),
        color: kind === "entry" ? colours.entry : colours.exit,
        text,
      }))
      .filter((mark): mark is typeof mark & { time: UTCTimestamp } => mark.time !== null)
      .sort((one, other) => one.time - other.time);
    this.#marks.setMarkers(pictured);

    if (isAtEnd) this.chart.timeScale().setVisibleLogicalRange({ from: logical.from + grown, to: logical.to + grown });
    else if (view) this.chart.timeScale().setVisibleRange(view);
  }

  /** The bar of a moment: the last that starts by then. */
  #barAt(bars: Bar[], ts: string): UTCTimestamp | null {
    const at = seconds(ts);
    const bar = bars.findLast((bar) => seconds(bar.ts) <= at);
    return bar ? seconds(bar.ts) : null;
  }

  /** Shows so many bars before the cutoff and after it. */
  focus(before: number, after: number): void {
    const at = this.#known + 1;
    this.chart.timeScale().setVisibleLogicalRange({ from: Math.max(-2, at - before), to: Math.min(this.#bars.size + 4, at + after) });
  }

  /** Moves by so many bars. */
  pan(bars: number): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (range) this.chart.timeScale().setVisibleLogicalRange({ from: range.from + bars, to: range.to + bars });
  }

  remove(): void {
    this.chart.remove();
  }
}
