// Just enough of XML to read what routers say of themselves: its leaves, in order, with no nesting kept in mind.
// Routers write XML that strict parsers refuse; nothing here depends on tags that match, and no entity is expanded
// but the five that XML itself has.

/** More elements than any router's description has. */
const MAX_ELEMENTS = 5_000;

/** An element that holds text alone, or the end of one that holds others. Names come without their prefix. */
export type XmlPart =
  | { readonly kind: "leaf"; readonly name: string; readonly text: string }
  | { readonly kind: "start" | "end"; readonly name: string };

/** Walks through a document, in time linear in its length. What is no XML yields few parts or none. */
export function* partsOf(xml: string): Generator<XmlPart> {
  let open: string | undefined, text = "", at = 0;
  for (let count = 0; count < MAX_ELEMENTS;) {
    const tag = xml.indexOf("<", at);
    if (tag < 0) return;
    if (open !== undefined) text += decode(xml.slice(at, tag));
    const skipped = SKIPPED.find(({ start }) => xml.startsWith(start, tag));
    if (skipped !== undefined) {
      const { start, end, isText } = skipped;
      const stop = xml.indexOf(end, tag + start.length);
      if (stop < 0) return;
      if (isText && open !== undefined) text += xml.slice(tag + start.length, stop);
      at = stop + end.length;
      continue;
    }
    const stop = xml.indexOf(">", tag);
    if (stop < 0) return;
    at = stop + 1;
    count++;
    const name = nameOf(xml, tag, stop);
    if (xml[tag + 1] === "/") {
      if (open === name) yield { kind: "leaf", name, text: text.trim() };
      else yield { kind: "end", name };
      open = undefined;
    } else if (xml[stop - 1] === "/") {
      if (open !== undefined) yield { kind: "start", name: open };
      yield { kind: "leaf", name, text: "" };
      open = undefined;
    } else {
      if (open !== undefined) yield { kind: "start", name: open };
      open = name;
    }
    text = "";
  }
}

/** The text of the first leaf of each name. */
export function leavesOf(xml: string): Map<string, string> {
  const leaves = new Map<string, string>();
  for (const part of partsOf(xml)) {
    if (part.kind === "leaf" && !leaves.has(part.name)) leaves.set(part.name, part.text);
  }
  return leaves;
}

/** Text as it stands in a document. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const SKIPPED = [
  { start: "<!--", end: "-->", isText: false },
  { start: "<![CDATA[", end: "]]>", isText: true },
  { start: "<?", end: "?>", isText: false },
  { start: "<!", end: ">", isText: false },
] as const;

/** The name of the tag from `tag` to `stop`, without slash, prefix and attributes. */
function nameOf(xml: string, tag: number, stop: number): string {
  const start = xml[tag + 1] === "/" ? tag + 2 : tag + 1;
  let end = start, colon = -1;
  for (; end < stop; end++) {
    const c = xml[end];
    if (c === ":") colon = end;
    else if (c === "/" || /\s/.test(c)) break;
  }
  return xml.slice(colon < 0 ? start : colon + 1, end);
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

function decode(text: string): string {
  return text.replace(/&([a-z]{2,4});/g, (whole, name) => ENTITIES[name] ?? whole);
}
