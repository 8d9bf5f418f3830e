// The program's version, as text and in protocol messages.

import manifest from "../deno.json" with { type: "json" };

/** The program's version, in the format of semver.org. */
export const VERSION: string = manifest.version;

/** The field `v` of the node's messages: `DM`, a byte for the major and minor version, and a byte for the patch. */
export const CLIENT: number = (() => {
  const [major, minor, patch] = VERSION.split(".").map((part) => parseInt(part));
  return (0x444d << 16) | (major << 12) | (minor << 8) | patch;
})();

/** Common DHT clients, by the first two characters of the field `v` in their messages. */
const CLIENTS: Record<string, string> = {
  UT: "uTorrent",
  A2: "aria2",
  WW: "bittorrent-dht",
  TR: "Transmission",
  DT: "anacrolix/dht",
  JC: "jech/dht",
  ml: "MLDHT",
  GX: "Ktorrent",
};

/** rakshasa's libtorrent, which rtorrent uses, begins its `v` with these three bytes. */
const RAKSHASA = 0x6c740d;

/**
 * Returns the client name and version that the first four bytes of `v` encode. For an unknown client, returns these
 * bytes as text, with `\xNN` for bytes that are not printable. Returns null for 0, which means that the message has
 * no `v`.
 */
export function clientName(v: number): string | null {
  if (v === 0) return null;
  const bytes = [v >>> 24, (v >>> 16) & 255, (v >>> 8) & 255, v & 255];
  const [, , third, fourth] = bytes;
  const prefix = String.fromCharCode(bytes[0], bytes[1]);
  if (prefix === "DM") return `dmnode/${third >> 4}.${third & 15}.${fourth}`;
  if (v >>> 8 === RAKSHASA) return `rakshasa-libtorrent/0.${third}.${fourth >> 4}`;
  // libtorrent packs the last two parts of its version into one byte.
  if (prefix === "LT") return `libtorrent/${third}.${fourth >> 4}.${fourth & 15}`;
  if (Object.hasOwn(CLIENTS, prefix)) return `${CLIENTS[prefix]}/${third}.${fourth}`;
  const length = bytes.findLastIndex((byte) => byte !== 0) + 1;
  return bytes.slice(0, length).map(printable).join("");
}

function printable(byte: number): string {
  const isPrintable = byte >= 0x20 && byte <= 0x7e && byte !== 0x5c;
  return isPrintable ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
}
