// The program's version, in words and as it goes over the wire.

import manifest from "../deno.json" with { type: "json" };

/** Semantic version. */
export const VERSION: string = manifest.version;

/** `DM`, then major and minor in one byte, then patch: the wire's four-byte `v` (BEP 5's successors call it client). */
export const CLIENT: number = (() => {
  const [major, minor, patch] = VERSION.split(".").map((part) => parseInt(part));
  return (0x444d << 16) | (major << 12) | (minor << 8) | patch;
})();

/** Prefixes that DHT clients in use put into `v`. */
const CLIENTS: Record<string, string> = {
  LT: "libtorrent",
  UT: "uTorrent",
  lt: "rTorrent",
  WW: "bittorrent-dht",
  TR: "Transmission",
  DT: "anacrolix/dht",
  JC: "jech/dht",
  ml: "MLDHT",
  GX: "Ktorrent",
};

/** Name and version of the implementation behind a wire `v`; null where it sent none. */
export function clientName(v: number): string | null {
  if (v === 0) return null;
  const bytes = [v >>> 24, (v >>> 16) & 255, (v >>> 8) & 255, v & 255];
  const prefix = String.fromCharCode(bytes[0], bytes[1]);
  if (prefix === "DM") return `dmnode/${bytes[2] >> 4}.${bytes[2] & 15}.${bytes[3]}`;
  const known = CLIENTS[prefix];
  // libtorrent packs the last two parts of its version into one byte.
  const number = prefix === "LT"
    ? `${bytes[2]}.${bytes[3] >> 4}.${bytes[3] & 15}`
    : `${bytes[2]}.${bytes[3]}`;
  if (known !== undefined) return `${known}/${number}`;
  return /^[ -~]{2}$/.test(prefix) ? `${prefix}/${number}` : `unknown/${v >>> 0}`;
}
