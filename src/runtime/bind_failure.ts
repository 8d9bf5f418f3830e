// Why a socket can't be had, as one line for the user.

/** `prefix`: of the settings that name host and port, P2P or API; `failed`: what to say where the reason is another. */
export function bindFailure(
  error: unknown,
  prefix: "P2P" | "API",
  host: string,
  port: number,
  failed: string,
): string {
  const where = `${prefix}_HOST ${host}, ${prefix}_PORT ${port}`;
  const flag = `--${prefix.toLowerCase()}`;
  if (error instanceof Deno.errors.AddrInUse) {
    return `${where}: the port is in use; stop the other program or choose another with ${flag}-port`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `${where}: this machine has no such address; choose another with ${flag}-host`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `${where}: not permitted; ports below 1024 need privileges, choose another with ${flag}-port`;
  }
  const message = error instanceof Error ? error.message : String(error);
  return `${where}: ${failed}: ${message.split("\n")[0]}`;
}
