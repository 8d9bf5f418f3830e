// Exchanges datagrams with routers, but only with addresses that `--allow-net` permits.

import { Endpoint } from "../../krpc/endpoint.ts";
import type { MappingHost } from "./router.ts";

/** Buffer size for datagrams from strangers. No message of PCP, NAT-PMP or SSDP is longer. */
const MAX_DATAGRAM_BYTES = 2_048;

/** Pause after a failed receive, so that a socket that keeps failing does not use up the CPU. */
const RECEIVE_PAUSE_MS = 100;

/** Sends a datagram. Failures are ignored: the caller notices that no answer comes. */
export async function send(
  conn: Deno.DatagramConn,
  { to, bytes }: { readonly to: Endpoint; readonly bytes: Uint8Array },
  host: Pick<MappingHost, "allows">,
): Promise<void> {
  // Check each time, as the addresses of names in `--allow-net` may have changed.
  if (!host.allows(to)) return;
  try {
    await conn.send(bytes, { transport: "udp", hostname: to.host, port: to.port });
  } catch {
    // Ignore the error: there is no route to the router, or no machine has the router's address.
  }
}

/** Calls `onDatagram` with each datagram, then reuses its bytes. Closes the socket when `closing` is aborted. */
export async function receive(
  conn: Deno.DatagramConn,
  { host, closing }: { readonly host: MappingHost; readonly closing: AbortSignal },
  onDatagram: (datagram: Uint8Array, from: Endpoint) => void,
): Promise<void> {
  closing.addEventListener("abort", () => conn.close(), { once: true });
  const buffer = new Uint8Array(MAX_DATAGRAM_BYTES);
  while (!closing.aborted) {
    try {
      const [datagram, address] = await conn.receive(buffer);
      const { hostname, port } = address as Deno.NetAddr;
      const from = Endpoint.parse(hostname, port);
      if (from !== undefined && host.allows(from)) onDatagram(datagram, from);
    } catch {
      // Continue after a pause, as some systems report a bounced packet as a failed receive.
      await host.clock.sleep(RECEIVE_PAUSE_MS, closing);
    }
  }
}
