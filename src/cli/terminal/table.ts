// Formats tables and name-value pairs for people, and fits them to the width of the terminal.

import stringWidth from "string-width";
import { print, SHORT_ID_DIGITS, stdout, type Style } from "./terminal.ts";

/** A column: only its heading, or a heading with options. */
export type Column = string | ColumnOptions;

interface ColumnOptions {
  readonly head: string;
  readonly align?: "right";
  /**
   * The way in which the column may shrink: ids to the digits that identify them, texts to about one word. Undefined if
   * the column may not shrink.
   */
  readonly shrinks?: "id" | "text";
}

export const right = (head: string): Column => ({ head, align: "right" });

/** A column of ids, which are shortened if the table is too wide. */
export const ids = (head: string): Column => ({ head, shrinks: "id" });

/** A column of long texts, which are shortened if the table is too wide. */
export const texts = (head: string): Column => ({ head, shrinks: "text" });

export type Cell = string | readonly [text: string, style: Style];

/** The minimum widths of columns that can shrink, including the ellipsis. */
const MIN_CELLS = { id: SHORT_ID_DIGITS + 1, text: 6 } as const;

const GAP = "  ";

/** The number of terminal cells that the text occupies. */
export function widthOf(text: string): number {
  return /^[ -~]*$/.test(text) ? text.length : stringWidth(text);
}

const segmenter = new Intl.Segmenter();

/** Shortens a text to `width` cells, including an ellipsis. The text must not contain escape sequences. */
export function shortened(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let short = "", used = 0;
  for (const { segment } of segmenter.segment(text)) {
    used += widthOf(segment);
    if (used > width - 1) break;
    short += segment;
  }
  return width > 0 ? `${short}…` : "";
}

/** Wraps text into lines of at most `width` cells. A longer word is not split, so its line is longer. */
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

/** Shrinks columns until lines have at most `limit` cells, or no column can shrink further. */
function fit(columns: readonly ColumnOptions[], widths: number[], limit: number): number[] {
  let excess = widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length) - limit;
  for (const kind of ["id", "text"] as const) {
    const minimum = (i: number) => Math.max(MIN_CELLS[kind], widthOf(columns[i].head));
    const shrinking = columns.flatMap(({ shrinks }, i) => shrinks === kind ? [i] : []);
    // Always shrink the widest column, so that wide columns end up equally wide.
    while (excess > 0) {
      const able = shrinking.filter((i) => widths[i] > minimum(i));
      if (able.length === 0) break;
      const widest = able.reduce((x, y) => widths[y] > widths[x] ? y : x);
      widths[widest]--;
      excess--;
    }
  }
  return widths;
}

/** Splits columns into groups of at most `limit` cells. Each group repeats the first column, which names the rows. */
function groupsOf(widths: readonly number[], limit: number): number[][] {
  const groups: number[][] = [[0]];
  let used = widths[0];
  for (let i = 1; i < widths.length; i++) {
    const wide = GAP.length + widths[i];
    if (used + wide > limit && groups.at(-1)!.length > 1) {
      groups.push([0]);
      used = widths[0];
    }
    groups.at(-1)!.push(i);
    used += wide;
  }
  return groups;
}

/**
 * Returns a table's lines, each at most `width` cells wide if possible. Columns that don't fit follow below as another
 * table.
 */
export function tableLines(
  given: readonly Column[],
  rows: readonly (readonly Cell[])[],
  width: number | null,
  paint: (style: Style, text: string) => string,
): string[] {
  const columns = given.map((column) => typeof column === "string" ? { head: column } : column);
  const lines: (readonly Cell[])[] = [columns.map(({ head }): Cell => [head, "bold"]), ...rows];
  const textOf = (cell: Cell) => typeof cell === "string" ? cell : cell[0];
  const natural = columns.map((_, i) =>
    lines.reduce((width, line) => Math.max(width, widthOf(textOf(line[i]))), 0)
  );
  const widths = width === null ? natural : fit(columns, natural, width);
  return groupsOf(widths, width ?? Infinity).flatMap((group, index) => [
    ...(index === 0 ? [] : [""]),
    ...lines.map((line) =>
      group.map((i) => {
        const cell = line[i], short = shortened(textOf(cell), widths[i]);
        const padding = " ".repeat(widths[i] - widthOf(short));
        const painted = typeof cell === "string" ? short : paint(cell[1], short);
        return columns[i].align === "right" ? padding + painted : painted + padding;
      }).join(GAP).trimEnd()
    ),
  ]);
}

/** Prints a table to standard output. */
export function printTable(columns: readonly Column[], rows: readonly (readonly Cell[])[]): void {
  const paint = stdout.paint.bind(stdout);
  for (const line of tableLines(columns, rows, stdout.columns, paint)) print(line);
}

/** Prints each name and its value on a line. Long values are wrapped and indented. */
export function printPairs(pairs: readonly (readonly [name: string, value: Cell])[]): void {
  const indent = pairs.reduce((width, [name]) => Math.max(width, widthOf(name)), 0) + GAP.length;
  const width = stdout.columns === null ? Infinity : Math.max(20, stdout.columns - indent);
  for (const [name, value] of pairs) {
    const [text, style] = typeof value === "string" ? [value, undefined] : value;
    for (const [i, line] of wrapped(text, width).entries()) {
      const label = i === 0 ? name : "";
      const painted = style === undefined ? line : stdout.paint(style, line);
      print(stdout.paint("bold", label) + " ".repeat(indent - widthOf(label)) + painted);
    }
  }
}
