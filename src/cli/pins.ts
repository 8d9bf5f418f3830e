// The commands for pins: pin, unpin and pins.

import type { Pins, PublishedValue } from "../reports/values.ts";
import { plural } from "../web/format.js";
import { Api, type ApiFlags } from "./client/api_client.ts";
import { print, printJson, stderr } from "./terminal/terminal.ts";
import { hashOf, lifeText, namingTheKey, printPublished, type ValueFlags } from "./values.ts";

/** Makes the node keep a value alive, and prints its hash. */
export async function pin(
  hash: string | undefined,
  { ttl, ...flags }: ValueFlags & { readonly ttl?: number },
): Promise<void> {
  const api = new Api(flags), { key } = flags;
  const body = JSON.stringify({ hash: await hashOf(api, hash, flags), key, ttl });
  const headers = { "content-type": "application/json" };
  const pinned = await namingTheKey(
    flags,
    (signal) =>
      api.request(
        api.at("/network/pin"),
        { method: "POST", body, headers, signal },
        (response) => api.json<PublishedValue>(response, "hash"),
      ),
  );
  if (flags.json) return printJson(pinned);
  print(pinned.hash);
  stderr.write(`${lifeText(pinned)}\n`);
}

/** Ends the pin of a value. */
export async function unpin(hash: string | undefined, flags: ValueFlags): Promise<void> {
  const api = new Api(flags);
  const target = await hashOf(api, hash, flags);
  const url = api.at(`/network/pin/${target}`);
  await api.request(url, { method: "DELETE" }, () => Promise.resolve());
  if (flags.json) printJson({ hash: target, unpinned: true });
}

/** Prints the pinned values. */
export async function pins(
  { limit, offset, ...flags }: ApiFlags & { limit?: number; offset?: number },
): Promise<void> {
  const list = await new Api(flags).get<Pins>("/network/pins", "pins", { limit, offset });
  if (flags.json) return printJson(list);
  printPublished(list.pins);
  print(`${list.pins.length} of ${plural(list.total, "value")}`);
}
