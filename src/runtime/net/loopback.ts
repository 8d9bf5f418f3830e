// The loopback addresses: a container or a network namespace may lack the one of IPv4.

/** The loopback addresses, in the order in which they are used. */
export const LOOPBACKS = ["127.0.0.1", "::1"] as const;

/** The first loopback address that this machine has. */
export function presentLoopback(): string {
  for (const hostname of LOOPBACKS) {
    try {
      Deno.listen({ hostname, port: 0 }).close();
      return hostname;
    } catch (error) {
      if (!isAbsent(error)) break;
    }
  }
  return LOOPBACKS[0];
}

/** Whether an error of binding or connecting says that this machine lacks the address, or its whole family. */
export function isAbsent(error: unknown): boolean {
  const { code } = error as { code?: string };
  return error instanceof Deno.errors.AddrNotAvailable || code === "EAFNOSUPPORT";
}
