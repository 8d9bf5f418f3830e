// Reads the Accept header (RFC 9110, section 12.5.1).

interface Range {
  /** A type such as `text/html`, or a wildcard such as `text/*`, in lower case. */
  readonly name: string;
  /** From 0 (refused) to 1. */
  readonly weight: number;
  /** True if the range selects only some forms of its types, for example one version. */
  readonly isNarrow: boolean;
}

/** Whether the Accept header `accept` names `type` in full, with a weight above 0. */
export function accepts(accept: string | null | undefined, type: string): boolean {
  return rangesOf(accept).some(({ name, weight }) => name === type && weight > 0);
}

/**
 * Whether the Accept header `accept` gives `type` the weight 0. The most specific range counts. A type that no range
 * names is not refused: sending it is allowed, and more useful than an error.
 */
export function refuses(accept: string | null | undefined, type: string): boolean {
  return weightOf(accept, type) === 0;
}

/** The weight that the Accept header `accept` gives to `type`; undefined if no range names it. */
export function weightOf(accept: string | null | undefined, type: string): number | undefined {
  const ranges = rangesOf(accept), [main] = type.split("/", 1);
  for (const specific of [type, `${main}/*`, "*/*"]) {
    // A narrow range refuses only some forms of the type, so it does not refuse the type.
    const weights = ranges.filter(({ name, weight, isNarrow }) =>
      name === specific && !(isNarrow && weight === 0)
    ).map(({ weight }) => weight);
    if (weights.length > 0) return Math.max(...weights);
  }
  return undefined;
}

function rangesOf(accept: string | null | undefined): Range[] {
  return (accept ?? "").toLowerCase().split(",").map((range) => {
    const [name, ...parameters] = range.split(";").map((part) => part.trim());
    const at = parameters.findIndex((parameter) => parameter.startsWith("q="));
    const weight = at === -1 ? 1 : weightFrom(parameters[at].slice(2));
    return { name, weight, isNarrow: at === -1 ? parameters.length > 0 : at > 0 };
  });
}

/** A weight that is malformed counts as if it were missing. */
function weightFrom(text: string): number {
  return /^(0(\.\d{0,3})?|1(\.0{0,3})?)$/.test(text) ? Number(text) : 1;
}
