// The loopback addresses. A container or a network namespace may lack the IPv4 one.

/** The loopback addresses, in the order in which they are used. */
export const LOOPBACKS = ["127.0.0.1", "::1"] as const;

/** Returns the first loopback address that this machine has. */
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

/**
 * Whether an error from binding or connecting means that this machine lacks the address or the
 * whole address family.
 */
export function isAbsent(error: unknown): boolean {
  const { code } = error as { code?: string };
  return error instanceof Deno.errors.AddrNotAvailable || code === "EAFNOSUPPORT";
}
