// The services that a UPnP router describes, and calls to their actions (UPnP Device Architecture 1.1).

import type { Family } from "../../krpc/endpoint.ts";
import { exchange } from "./http.ts";
import type { MappingHost } from "./router.ts";
import { type Location, parseLocation } from "./ssdp.ts";

const MAX_SERVICES = 8;

/** A service that can map ports. */
export interface UpnpService {
  readonly type: string;
  readonly control: Location;
}

/** The services that can map ports, in the order in which they are tried. */
const SERVICE_TYPES = {
  4: ["WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"],
  6: ["WANIPv6FirewallControl:1"],
} as const;

/** Fetches a router's description, and returns its services that can map ports, the best first. */
export async function describedServices(
  location: Location,
  family: Family,
  host: MappingHost,
): Promise<UpnpService[]> {
  const { server, path } = location;
  if (!host.allows(server)) return [];
  const response = await exchange({ server, method: "GET", path }, host.clock);
  return response?.status === 200 ? mappingServices(response.body, location, family) : [];
}

/** Returns the services in a description that can map ports, the best first. */
export function mappingServices(
  description: string,
  location: Location,
  family: Family,
): UpnpService[] {
  const ranks = SERVICE_TYPES[family].map((name) => `urn:schemas-upnp-org:service:${name}`);
  const found: (UpnpService & { readonly rank: number })[] = [];
  let base: Location | undefined = location, type: string | undefined, url: string | undefined;
  for (const [name, text] of leavesOf(description)) {
    if (name === "URLBase" && text !== "") base = parseLocation(text, location);
    else if (name === "serviceType") type = text;
    else if (name === "controlURL") url = text;
    if (type === undefined || url === undefined) continue;
    const rank = ranks.indexOf(type);
    const control = parseLocation(url, base);
    // The service must be on the router itself, not on another host.
    const isItsOwn = control?.server.sameAddress(location.server);
    if (isItsOwn && rank >= 0 && found.length < MAX_SERVICES) {
      found.push({ type, control: control!, rank });
    }
    type = url = undefined;
  }
  return found.sort((x, y) => x.rank - y.rank);
}

export type Answer =
  | {
    readonly outcome: "done";
    readonly values: ReadonlyMap<string, string>;
    /** Our own address as the router sees it. */
    readonly localAddress: string;
  }
  | Failure;

export type Failure =
  /** The router refused the action. `code` is NaN if the router sent no error code. */
  | { readonly outcome: "refused"; readonly reason: string; readonly code: number }
  | { readonly outcome: "silent"; readonly reason: string };

export type Arguments = Readonly<Record<string, string | number>>;

/** Calls an action of a service (UPnP Device Architecture 1.1, section 3.2). */
export async function call(
  { type, control: { server, path } }: UpnpService,
  { action, given = {} }: { readonly action: string; readonly given?: Arguments },
  host: MappingHost,
): Promise<Answer> {
  const silent = { outcome: "silent", reason: `no answer to ${action}` } as const;
  if (!host.allows(server)) return silent;
  const values = Object.entries(given).map(([name, value]) =>
    `<${name}>${escapeXml(String(value))}</${name}>`
  );
  const body = '<?xml version="1.0"?>\r\n' +
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>' +
    `<u:${action} xmlns:u="${type}">${values.join("")}</u:${action}></s:Body></s:Envelope>\r\n`;
  const headers = {
    "Content-Type": 'text/xml; charset="utf-8"',
    "SOAPAction": `"${type}#${action}"`,
  };
  const response = await exchange({ server, method: "POST", path, headers, body }, host.clock);
  if (response === undefined) return silent;
  // If several elements have the same name, use the first one.
  const leaves = new Map([...leavesOf(response.body)].reverse());
  if (response.status === 200) {
    return { outcome: "done", values: leaves, localAddress: response.localAddress };
  }
  const code = Number(leaves.get("errorCode") ?? NaN);
  const text = clean(leaves.get("errorDescription") ?? `HTTP ${response.status}`);
  const reason = `${action}: error${Number.isNaN(code) ? "" : ` ${code}`} ${text}`;
  return { outcome: "refused", reason, code };
}

/** Turns text from a router into one short line without control characters, for use in a message. */
export function clean(text: string): string {
  return text.replace(/[\p{C}\s]+/gu, " ").trim().slice(0, 100);
}

// A lenient XML reader, because strict readers often reject the XML of routers. It yields the leaf elements, ignoring
// nesting.

/**
 * Matches a comment, CDATA, an instruction, a tag or text. Also matches a token cut off by the end of the input, so
 * that no text is scanned twice.
 */
const TOKEN =
  /<!--.*?(?:-->|$)|<\?.*?(?:\?>|$)|<!\[CDATA\[(.*?)(?:\]\]>|$)|<([^>]*)(?:>|$)|[^<]+/gs;

const ENTITIES: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&apos;": "'",
};

/** Yields the elements that contain only text: the name of each, without prefix, and its text. */
export function* leavesOf(xml: string): Generator<[name: string, text: string]> {
  let open: string | undefined, text = "";
  for (const [token, cdata, tag] of xml.matchAll(TOKEN)) {
    if (tag === undefined) {
      if (cdata !== undefined) text += cdata;
      else if (!token.startsWith("<")) {
        text += token.replace(/&[a-z]{2,4};/g, (entity) => ENTITIES[entity] ?? entity);
      }
    } else if (!tag.startsWith("!")) {
      const name = /^\/?([^\s/]*)/.exec(tag)![1].replace(/^.*:/, "");
      const isEnd = tag.startsWith("/"), isEmpty = !isEnd && tag.endsWith("/");
      if (isEmpty) yield [name, ""];
      else if (isEnd && open === name) yield [name, text.trim()];
      open = isEnd || isEmpty ? undefined : name;
      text = "";
    }
  }
}

/** Escapes text for use in an XML document. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
