// Explains in one line for the user why a socket can't be bound.

import { firstLine } from "../../krpc/error_text.ts";

/**
 * Explains why the node can't listen at an address. `prefix` is the beginning of the names of the two settings that
 * give the address.
 */
export function bindFailure(
  error: unknown,
  { prefix, host, port }: { prefix: "P2P" | "API"; host: string; port: number },
): string {
  const socket = `${prefix}_HOST ${host}, ${prefix}_PORT ${port}`;
  const flag = `--${prefix.toLowerCase()}`;
  if (error instanceof Deno.errors.AddrInUse) {
    return `${socket}: the port is in use; stop the other program or choose another with ${flag}-port`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `${socket}: this machine has no such address; choose another with ${flag}-host`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `${socket}: not permitted; ports below 1024 need privileges, choose another with ${flag}-port`;
  }
  if (isFailedLookup(error)) {
    return `${socket}: DNS finds no address for this name; give an address of this machine with ${flag}-host`;
  }
  return `${socket}: can't be bound: ${firstLine(error)}`;
}

/**
 * Whether DNS found no address for a host. Deno gives a code to every other error of the system, but none to this one.
 */
function isFailedLookup(error: unknown): boolean {
  return error instanceof Error && error.constructor === Error && !("code" in error);
}
