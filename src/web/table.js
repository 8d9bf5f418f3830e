// A table that is sorted by its heads and draws only the rows that are in sight: thousands of rows stay quick.

import { h } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";

/**
 * @template R
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {(row: R) => import("preact").ComponentChildren} cell
 * @property {(row: R) => string | number | null} [by] what it is sorted by; null comes last. Without it it is not
 * @property {"descending"} [first] the way that the first click sorts; ascending unless told
 * @property {string} [class] of its cells: num for figures, wide for what narrow pages leave out
 */

/** Rows above and below those in sight, so that scrolling finds them drawn. */
const AROUND = 12;
/** Up to so many rows are all drawn: the browser's own search finds them then. */
const ALL = 150;

/**
 * @template R
 * @typedef {object} TableProps
 * @property {string} caption
 * @property {readonly Column<R>[]} columns
 * @property {readonly R[]} rows
 * @property {(row: R) => string} keyOf
 * @property {string} sortedBy the key of a column
 * @property {"ascending" | "descending"} [direction]
 * @property {number} [rowHeight] in CSS pixels
 * @property {unknown} [version] rows are sorted anew when it changes, or their number; with `rows` unless told
 * @property {(row: R | null) => void} [onPoint]
 * @property {string | null} [pointed] the key of a row
 * @property {string} [class]
 */

/**
 * A table; a function because elements can't be typed by what their rows are.
 *
 * @template R
 * @param {TableProps<R>} props
 */
export function table(props) {
  return h(/** @type {import("preact").FunctionComponent<TableProps<R>>} */ (Table), props);
}

/**
 * @template R
 * @param {TableProps<R>} props
 */
function Table(
  {
    caption,
    columns,
    rows,
    keyOf,
    sortedBy,
    direction = "ascending",
    rowHeight = 37,
    version,
    onPoint,
    pointed = null,
    class: name = "",
  },
) {
  const [sort, setSort] = useState({ key: sortedBy, direction });
  const [top, setTop] = useState(0);
  const frame = useRef(/** @type {HTMLDivElement | null} */ (null));
  const by = columns.find(({ key }) => key === sort.key)?.by;
  const sorted = useMemo(
    () => by === undefined ? rows : sortRows(rows, by, sort.direction, keyOf),
    [version ?? rows, rows.length, sort, by === undefined],
  );
  const isWhole = sorted.length <= ALL;
  const shown = (frame.current?.clientHeight || 640) / rowHeight;
  const start = isWhole ? 0 : Math.max(0, Math.floor(top / rowHeight) - AROUND);
  const end = isWhole
    ? sorted.length
    : Math.min(sorted.length, Math.ceil(start + shown + 2 * AROUND));
  const choose = (/** @type {Column<R>} */ column) => {
    const first = column.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    setSort({
      key: column.key,
      direction: sort.key === column.key && sort.direction === first ? other : first,
    });
    frame.current?.scrollTo({ top: 0 });
  };
  return h(
    "div",
    {
      class: `table-frame ${name}`,
      ref: frame,
      tabIndex: 0,
      role: "region",
      "aria-label": caption,
      onScroll: (event) => {
        if (isWhole) return;
        const { scrollTop } = event.currentTarget;
        // Redrawn by the half of what is drawn around, not by the pixel.
        if (Math.abs(scrollTop - top) > AROUND * rowHeight / 2) setTop(scrollTop);
      },
    },
    h(
      "table",
      { "aria-rowcount": sorted.length + 1 },
      h("caption", { class: "visually-hidden" }, caption),
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          columns.map((column) =>
            h(
              "th",
              {
                key: column.key,
                scope: "col",
                class: column.class ?? "",
                "aria-sort": sort.key === column.key ? sort.direction : undefined,
              },
              column.by === undefined ? column.label : h(
                "button",
                { type: "button", class: "sort", onClick: () => choose(column) },
                column.label,
                h("span", { class: "sort-arrow", "aria-hidden": "true" }),
              ),
            )
          ),
        ),
      ),
      h(
        "tbody",
        { onPointerLeave: onPoint && (() => onPoint(null)) },
        spacer("above", start * rowHeight, columns.length),
        sorted.slice(start, end).map((row, i) => {
          const key = keyOf(row);
          return h(
            "tr",
            {
              key,
              "aria-rowindex": start + i + 2,
              class: key === pointed ? "pointed" : "",
              onPointerEnter: onPoint && (() => onPoint(row)),
              onFocusIn: onPoint && (() => onPoint(row)),
            },
            columns.map((column, n) =>
              h(
                n === 0 ? "th" : "td",
                { key: column.key, class: column.class ?? "", scope: n === 0 ? "row" : undefined },
                column.cell(row),
              )
            ),
          );
        }),
        spacer("below", (sorted.length - end) * rowHeight, columns.length),
      ),
    ),
  );
}

/** Takes the place of rows that are not drawn. @param {string} key @param {number} height @param {number} columns */
function spacer(key, height, columns) {
  if (height <= 0) return null;
  return h(
    "tr",
    { key, class: "spacer", "aria-hidden": "true" },
    h("td", { colSpan: columns, style: { height: `${height}px` } }),
  );
}

/**
 * @template R
 * @param {readonly R[]} rows
 * @param {(row: R) => string | number | null} by
 * @param {"ascending" | "descending"} direction
 * @param {(row: R) => string} keyOf
 */
export function sortRows(rows, by, direction, keyOf) {
  const sign = direction === "ascending" ? 1 : -1;
  return rows.map((row) => ({ row, value: by(row), key: keyOf(row) }))
    .sort((a, b) => {
      if (a.value === b.value) return a.key < b.key ? -1 : 1;
      if (a.value === null) return 1;
      if (b.value === null) return -1;
      return a.value < b.value ? -sign : sign;
    })
    .map(({ row }) => row);
}
