/**
 * Charts as one SVG: small panels over one axis, such as the number of ranks. Plain text: panels of
 * lines and points need no library, and a file of a few kilobytes opens in any browser.
 */

export interface Series {
  readonly name: string;
  /** One value a place of the axis; undefined where there is none. */
  readonly values: ReadonlyArray<number | undefined>;
  /** Least and largest of the runs that each value is the median of. */
  readonly ranges?: ReadonlyArray<readonly [least: number, largest: number] | undefined>;
  /** Not measured: a line to compare with. */
  readonly isGuide?: boolean;
}

export interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly Series[];
  readonly scale: "linear" | "logarithmic";
}

export interface ChartAxis {
  readonly title: string;
  readonly values: readonly number[];
  /** Of kinds that have a name and no size: written instead of the values, and not joined by lines. */
  readonly names?: readonly string[];
}

export interface Chart {
  readonly title: string;
  readonly subtitle: string;
  readonly axis: ChartAxis;
  readonly panels: readonly Panel[];
}

const COLUMNS = 2;
const PANEL = { width: 560, height: 330 };
const PLOT = { left: 78, right: 24, top: 66, bottom: 52 };
const HEAD = 84;
/** Okabe and Ito: told apart by the colour-blind, too. */
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const GUIDE = "#9a9a9a";
const FONT = "font-family='Inter, Helvetica, Arial, sans-serif'";

interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

export function renderChart(chart: Chart): string {
  const rows = Math.ceil(chart.panels.length / COLUMNS);
  const width = COLUMNS * PANEL.width;
  const height = HEAD + rows * PANEL.height;
  const panels = chart.panels.map((panel, i) => {
    const x = (i % COLUMNS) * PANEL.width;
    const y = HEAD + Math.floor(i / COLUMNS) * PANEL.height;
    return `<g transform="translate(${x} ${y})">\n${renderPanel(panel, chart.axis)}</g>\n`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ${FONT}>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(28, 38, chart.title, `font-size="22" font-weight="600"`),
    text(28, 62, chart.subtitle, `font-size="13" fill="#555555"`),
    ...panels,
    "</svg>",
    "",
  ].join("\n");
}

function renderPanel({ title, unit, series, scale }: Panel, axis: ChartAxis): string {
  const right = PANEL.width - PLOT.right;
  const bottom = PANEL.height - PLOT.bottom;
  const measured = series
    .flatMap(({ values, ranges = [] }) => [...values, ...ranges.flat()])
    .filter((v) => v !== undefined);
  const x = placeScale(axis, PLOT.left + 14, right - 14);
  const y = valueScale(measured, scale, bottom, PLOT.top);
  const out = [text(PLOT.left, 24, title, `font-size="15" font-weight="600"`)];
  for (const tick of y.ticks) {
    const at = y.at(tick);
    out.push(line(PLOT.left, at, right, at, "#e6e6e6"));
    out.push(
      text(PLOT.left - 8, at + 4, short(tick), `font-size="12" text-anchor="end" fill="#333333"`),
    );
  }
  out.push(line(PLOT.left, bottom, right, bottom, "#333333"));
  for (const tick of x.ticks) {
    out.push(line(x.at(tick), bottom, x.at(tick), bottom + 5, "#333333"));
    out.push(
      text(
        x.at(tick),
        bottom + 20,
        axis.names?.[axis.values.indexOf(tick)] ?? short(tick),
        `font-size="12" text-anchor="middle" fill="#333333"`,
      ),
    );
  }
  const middle = (PLOT.left + right) / 2;
  out.push(
    text(middle, bottom + 40, axis.title, `font-size="12" text-anchor="middle" fill="#555555"`),
  );
  const up = (PLOT.top + bottom) / 2;
  out.push(
    text(
      0,
      0,
      unit,
      `font-size="12" text-anchor="middle" fill="#555555" transform="translate(18 ${up}) rotate(-90)"`,
    ),
  );
  let legend = PLOT.left;
  for (const [i, each] of series.entries()) {
    const color = each.isGuide ? GUIDE : COLORS[i % COLORS.length];
    out.push(renderSeries(each, axis, { x, y, color }));
    out.push(line(legend, 44, legend + 18, 44, color, each.isGuide ? "5 4" : undefined, 2.5));
    out.push(text(legend + 24, 48, each.name, `font-size="12" fill="#333333"`));
    legend += 44 + 6.6 * each.name.length;
  }
  return `${out.join("\n")}\n`;
}

function renderSeries(
  { values, ranges = [], isGuide }: Series,
  axis: ChartAxis,
  { x, y, color }: { x: Scale; y: Scale; color: string },
): string {
  const points = axis.values.flatMap((place, i) => {
    const value = values[i];
    return value === undefined ? [] : [[x.at(place), y.at(value)] as const];
  });
  const path = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(" ");
  const dash = isGuide ? ` stroke-dasharray="5 4"` : "";
  const joined = `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"${dash}/>`;
  if (isGuide) return joined;
  const spreads = axis.values.flatMap((place, i) => {
    const range = ranges[i];
    if (range === undefined) return [];
    const [least, largest] = range;
    return [line(x.at(place), y.at(least), x.at(place), y.at(largest), color)];
  });
  const dots = points.map(
    ([px, py]) => `<circle cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="3.5" fill="${color}"/>`,
  );
  return [...(axis.names === undefined ? [joined] : []), ...spreads, ...dots].join("\n");
}

/** Places far apart go on a logarithmic axis; each has its tick while there is room. */
function placeScale({ values }: ChartAxis, from: number, to: number): Scale {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const f = low > 0 && high / low >= 8 ? Math.log : (value: number) => value;
  const span = f(high) - f(low) || 1;
  const at = (value: number) =>
    low === high ? (from + to) / 2 : from + ((f(value) - f(low)) / span) * (to - from);
  const ticks: number[] = [];
  for (const value of [...values].sort((a, b) => a - b))
    if (ticks.length === 0 || at(value) - at(ticks.at(-1)!) >= 40) ticks.push(value);
  return { at, ticks };
}

function valueScale(
  values: readonly number[],
  scale: Panel["scale"],
  from: number,
  to: number,
): Scale {
  const positive = values.filter((value) => value > 0);
  const high = positive.length > 0 ? Math.max(...positive) : 1;
  if (scale === "logarithmic" && positive.length > 0) {
    const first = Math.floor(Math.log10(Math.min(...positive)));
    const last = Math.max(first + 1, Math.ceil(Math.log10(high)));
    const at = (value: number) =>
      from + ((Math.log10(Math.max(value, 10 ** first)) - first) / (last - first)) * (to - from);
    const ticks = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
    return { at, ticks };
  }
  const step = niceStep(high / 4);
  const top = step * Math.max(1, Math.ceil(high / step));
  const count = Math.round(top / step);
  const ticks = Array.from({ length: count + 1 }, (_, i) => i * step);
  return { at: (value) => from + (value / top) * (to - from), ticks };
}

/** 1, 2 or 5 times a power of ten, not less than `value`. */
function niceStep(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const factor of [1, 2, 5]) if (factor * power >= value) return factor * power;
  return 10 * power;
}

/** 40000 → 40k; 0.0005 stays. */
function short(value: number): string {
  if (value === 0) return "0";
  for (const [unit, letter] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const)
    if (Math.abs(value) >= unit) return `${Number((value / unit).toPrecision(3))}${letter}`;
  return String(Number(value.toPrecision(3)));
}

function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  color: string,
  dash?: string,
  width = 1,
): string {
  const dashed = dash === undefined ? "" : ` stroke-dasharray="${dash}"`;
  return `<line x1="${x1}" y1="${y1.toFixed(1)}" x2="${x2}" y2="${y2.toFixed(1)}" stroke="${color}" stroke-width="${width}"${dashed}/>`;
}

function text(x: number, y: number, words: string, attributes: string): string {
  const escaped = words.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`;
}
