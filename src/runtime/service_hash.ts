// Computes the info-hash of a service's name, so that any program can find the service's peers
// through the DHT.

import { Id } from "../krpc/id.ts";
import { sha1 } from "./identity/sha1.ts";

/** Text that precedes the name, so that no name has the info-hash of a torrent or the hash of a value. */
const PREFIX = "dmnode service: ";

/** Returns the info-hash for the name of a service: the SHA-1 of a prefix and of the name in UTF-8. */
export function serviceHash(name: string): Id {
  return Id.read(sha1(new TextEncoder().encode(PREFIX + name)));
}
