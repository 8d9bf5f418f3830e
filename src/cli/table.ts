// Tables and pairs for people: columns as wide as their widest cell, and within the terminal's width where it is one.

import stringWidth from "string-width";
import { print, stdout, type Style } from "./terminal.ts";

export interface Column {
  readonly head: string;
  readonly align?: "right";
  /**
   * Whether cells may be shortened where lines would be too long: an `id` keeps at least what tells it from others, a
   * `text` at least its first word or so. All others are left whole.
   */
  readonly shrinks?: "id" | "text";
}

/** Text, or text with a style. */
export type Cell = string | readonly [text: string, style: Style];

/** The beginning of an id that is unique in any network: 48 bits. */
export const SHORT_ID_DIGITS = 12;

/** One more for the ellipsis. */
const LEAST = { id: SHORT_ID_DIGITS + 1, text: 6 } as const;

const GAP = "  ";

/** Cells of a terminal that the text takes. */
export function widthOf(text: string): number {
  return /^[ -~]*$/.test(text) ? text.length : stringWidth(text);
}

const segmenter = new Intl.Segmenter();

/** The text within so many cells, with an ellipsis where it had more. Takes no escape sequences. */
export function shortened(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = "", used = 0;
  for (const { segment } of segmenter.segment(text)) {
    used += widthOf(segment);
    if (used > width - 1) break;
    kept += segment;
  }
  return width > 0 ? `${kept}…` : "";
}

/** The words in lines of at most so many cells; a longer word has a line for itself. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 1 + widthOf(word) <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

/** Widths of the columns, so that a line has at most `most` cells, as far as the columns may shrink. */
function fit(columns: readonly Column[], widths: number[], most: number): number[] {
  let excess = widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length) - most;
  for (const kind of ["id", "text"] as const) {
    const least = (i: number) => Math.max(LEAST[kind], widthOf(columns[i].head));
    const shrinking = columns.flatMap(({ shrinks }, i) => shrinks === kind ? [i] : []);
    // The widest first, until all are as narrow.
    while (excess > 0) {
      const able = shrinking.filter((i) => widths[i] > least(i));
      if (able.length === 0) break;
      const widest = able.reduce((x, y) => widths[y] > widths[x] ? y : x);
      widths[widest]--;
      excess--;
    }
  }
  return widths;
}

/** The columns in as few groups as fit beside each other; the first, which names the rows, begins each of them. */
function groupsOf(widths: readonly number[], most: number): number[][] {
  const groups: number[][] = [[0]];
  let used = widths[0];
  for (let i = 1; i < widths.length; i++) {
    const wide = GAP.length + widths[i];
    if (used + wide > most && groups.at(-1)!.length > 1) {
      groups.push([0]);
      used = widths[0];
    }
    groups.at(-1)!.push(i);
    used += wide;
  }
  return groups;
}

/**
 * The table's lines, the head first. Where it can't be made narrow enough, the columns that have no room follow below
 * as a table of their own.
 *
 * @param width cells of a line, null where it may have any
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  width: number | null,
  paint: (style: Style, text: string) => string,
): string[] {
  const lines: (readonly Cell[])[] = [columns.map(({ head }): Cell => [head, "bold"]), ...rows];
  const text = (cell: Cell) => typeof cell === "string" ? cell : cell[0];
  const natural = columns.map((_, i) =>
    lines.reduce((most, line) => Math.max(most, widthOf(text(line[i]))), 0)
  );
  const widths = width === null ? natural : fit(columns, natural, width);
  return groupsOf(widths, width ?? Infinity).flatMap((group, index) => [
    ...(index === 0 ? [] : [""]),
    ...lines.map((line) =>
      group.map((i) => {
        const cell = line[i], short = shortened(text(cell), widths[i]);
        const padding = " ".repeat(widths[i] - widthOf(short));
        const painted = typeof cell === "string" ? short : paint(cell[1], short);
        return columns[i].align === "right" ? padding + painted : painted + padding;
      }).join(GAP).trimEnd()
    ),
  ]);
}

/** Prints a table to standard output. */
export function printTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): void {
  const paint = stdout.paint.bind(stdout);
  for (const line of tableLines(columns, rows, stdout.columns, paint)) print(line);
}

/** Prints names and what they stand for; long texts go on below themselves. */
export function printPairs(pairs: readonly (readonly [name: string, value: Cell])[]): void {
  const indent = pairs.reduce((most, [name]) => Math.max(most, widthOf(name)), 0) + GAP.length;
  const width = stdout.columns === null ? Infinity : Math.max(20, stdout.columns - indent);
  for (const [name, value] of pairs) {
    const [text, style] = typeof value === "string" ? [value, undefined] : value;
    for (const [i, line] of wrapped(text, width).entries()) {
      const label = i === 0 ? stdout.paint("bold", name) + " ".repeat(indent - widthOf(name)) : "";
      const painted = style === undefined ? line : stdout.paint(style, line);
      print((i === 0 ? label : " ".repeat(indent)) + painted);
    }
  }
}
