// The permissions of the executable, and those that a node gives up before it handles packets (docs/security.md).

import { ENV_NAMES } from "../../config.ts";
import { LIBC_PATHS } from "../net/message_batch.ts";
import { NOTIFY_SOCKET, SERVICE_ENV_NAMES } from "./service_manager.ts";

/** The variable with the passphrase for `dmnode identity`. Not a setting, to keep passphrases out of `.env` files. */
export const PASSPHRASE_VARIABLE = "DMNODE_PASSPHRASE";

/** Variables that show whether the terminal supports colors, and whether the user wants them. */
const COLOR_VARIABLES = ["NO_COLOR", "FORCE_COLOR", "TERM"];

/**
 * The variables that list the hosts to reach without a proxy. Deno uses the first one that is set.
 */
export const NO_PROXY_VARIABLES = ["NO_PROXY", "no_proxy"] as const;

/** Every environment variable that the program may read and set. */
export const READABLE_ENV_NAMES: readonly string[] = [
  ...ENV_NAMES,
  ...SERVICE_ENV_NAMES,
  PASSPHRASE_VARIABLE,
  ...COLOR_VARIABLES,
  ...NO_PROXY_VARIABLES,
];

/** Returns the permission flags to compile in. `withBatches` lets `main.ts` open the C library (`MessageBatch`). */
export function permissionFlags(
  os: typeof Deno.build.os,
  withBatches = os === "linux",
): string[] {
  return [
    "--no-prompt",
    "--allow-net",
    `--allow-env=${READABLE_ENV_NAMES.join(",")}`,
    // Allow all paths, because the paths of DATA_DIR and of the user's files are known only at run time.
    "--allow-read",
    // List the root and the socket separately, so that a service can give up the root but keep the socket.
    os === "linux" ? `--allow-write=/,${NOTIFY_SOCKET}` : "--allow-write",
    "--deny-run",
    withBatches ? `--allow-ffi=${LIBC_PATHS.join(",")}` : "--deny-ffi",
    // The node needs this permission to find out at which addresses this machine can be reached
    // (`NodeSockets`).
    "--allow-sys=networkInterfaces",
    "--deny-import",
  ];
}

/**
 * Permanently gives up permissions that are no longer needed. Open files stay usable. A service may
 * still write to systemd's socket. The node may still read the addresses of this machine, because
 * these change.
 */
export function dropPermissions({ isService }: { isService: boolean }): void {
  if (isService) Deno.permissions.revokeSync({ name: "write", path: "/" });
  // Only a service keeps the write permission for one path, and only if paths were granted one by one: a permission for
  // all paths can't be reduced.
  if (!isService || Deno.permissions.querySync({ name: "write" }).state === "granted") {
    Deno.permissions.revokeSync({ name: "write" });
  }
  for (const name of ["read", "env", "run", "ffi", "import"] as const) {
    Deno.permissions.revokeSync({ name });
  }
}
