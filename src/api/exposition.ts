// Counters and histograms, and the text formats of Prometheus and OpenMetrics.

/** Metric types that both formats share. */
export type MetricType = "counter" | "gauge" | "histogram";

type Labels = Readonly<Record<string, string>>;

/** One value of a metric. `suffix` is added to the metric's name. */
export interface Sample {
  readonly suffix?: "_bucket" | "_sum" | "_count";
  readonly labels: Labels;
  readonly value: number;
}

/** A metric with its current values. The name of a counter ends in `_total`. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  samples(): readonly Sample[];
}

/** The counts of a histogram. The last count is the number of values above all bounds. */
export interface Distribution {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
}

/** Returns the samples of a histogram: the values up to each bound, the sum of the values, and their number. */
export function histogramSamples(labels: Labels, distribution: Distribution): Sample[] {
  const { bounds, counts, sum } = distribution;
  let count = 0;
  const buckets = counts.map((n, i): Sample => {
    const le = i < bounds.length ? String(bounds[i]) : "+Inf";
    return { suffix: "_bucket", labels: { ...labels, le }, value: count += n };
  });
  return [
    ...buckets,
    { suffix: "_sum", labels, value: sum },
    { suffix: "_count", labels, value: count },
  ];
}

/** The name and the help text of a metric, and the series that exist from the start. */
interface Description<L extends string> {
  readonly name: string;
  readonly help: string;
  readonly from?: readonly Readonly<Record<L, string>>[];
}

/** A metric that has one series for each combination of labels `L`. */
abstract class Family<L extends string, S> {
  readonly name: string;
  readonly help: string;
  readonly #series = new Map<string, { readonly labels: Labels; readonly state: S }>();

  constructor({ name, help, from = [] }: Description<L>, readonly start: () => S) {
    this.name = name;
    this.help = help;
    for (const labels of from) this.state(labels);
  }

  samples(): Sample[] {
    return [...this.#series.values()].flatMap(({ labels, state }) => this.read(labels, state));
  }

  /** Returns the state of the time series with these labels. Creates the series if it does not exist yet. */
  protected state(labels: Readonly<Record<L, string>>): S {
    const key = labelText(labels);
    let series = this.#series.get(key);
    if (series === undefined) this.#series.set(key, series = { labels, state: this.start() });
    return series.state;
  }

  protected abstract read(labels: Labels, state: S): Sample[];
}

/** A metric that counts something and never falls. */
export class Counter<L extends string> extends Family<L, { count: number }> implements Metric {
  readonly type = "counter";

  constructor(description: Description<L>) {
    super(description, () => ({ count: 0 }));
  }

  increment(labels: Readonly<Record<L, string>>): void {
    this.state(labels).count++;
  }

  protected override read(labels: Labels, { count }: { count: number }): Sample[] {
    return [{ labels, value: count }];
  }
}

/** A metric that shows the distribution of observed values. */
export class Histogram<L extends string> extends Family<L, { counts: number[]; sum: number }>
  implements Metric {
  readonly type = "histogram";

  /** @param bounds upper bounds of the buckets, in ascending order */
  constructor(description: Description<L>, readonly bounds: readonly number[]) {
    super(description, () => ({ counts: Array(bounds.length + 1).fill(0), sum: 0 }));
  }

  observe(labels: Readonly<Record<L, string>>, value: number): void {
    const state = this.state(labels);
    const bucket = this.bounds.findIndex((bound) => value <= bound);
    state.counts[bucket < 0 ? this.bounds.length : bucket]++;
    state.sum += value;
  }

  protected override read(labels: Labels, state: { counts: number[]; sum: number }): Sample[] {
    return histogramSamples(labels, { bounds: this.bounds, ...state });
  }
}

/**
 * The two formats, by their content types. In OpenMetrics, the suffix `_total` of a counter is only in its samples,
 * not in its name.
 */
export const FORMATS = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
} as const;

/** Writes metrics as text. */
export function exposition(metrics: readonly Metric[], format: keyof typeof FORMATS): string {
  const isOpen = format === "openMetrics";
  const lines = metrics.flatMap((metric) => {
    const { name, help, type } = metric;
    const family = isOpen && type === "counter" ? name.replace(/_total$/, "") : name;
    return [
      `# HELP ${family} ${help.replace(/[\\\n]/g, escape)}`,
      `# TYPE ${family} ${type}`,
      ...metric.samples().map(({ suffix = "", labels, value }) =>
        `${name}${suffix}${labelText(labels)} ${value}`
      ),
    ];
  });
  return [...lines, ...(isOpen ? ["# EOF"] : []), ""].join("\n");
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels);
  if (pairs.length === 0) return "";
  const texts = pairs.map(([name, value]) => `${name}="${value.replace(/[\\\n"]/g, escape)}"`);
  return `{${texts.join()}}`;
}

function escape(character: string): string {
  return character === "\n" ? "\\n" : `\\${character}`;
}
