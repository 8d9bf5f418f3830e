// What the program may do: what it is compiled with, and what a node gives up before its first packet.
// docs/security.md has the reasons.

import { ENV_NAMES, NO_SETTING } from "../config.ts";
import { LIBC_PATHS } from "./message_batch.ts";
import { NOTIFY_SOCKET, SERVICE_ENV_NAMES } from "./service_manager.ts";

/** What `dmnode identity` takes a passphrase from. No setting: it does not belong into a `.env`. */
export const PASSPHRASE_VARIABLE = "DMNODE_PASSPHRASE";

/** What tells whether a terminal, and whoever reads it, wants colors. */
const COLOR_VARIABLES = ["NO_COLOR", "FORCE_COLOR", "TERM"];

/** Every environment variable that the program may read. */
export const READABLE_ENV_NAMES: readonly string[] = [
  ...ENV_NAMES,
  NO_SETTING,
  ...SERVICE_ENV_NAMES,
  PASSPHRASE_VARIABLE,
  ...COLOR_VARIABLES,
];

/**
 * The flags that the program is compiled with for a system. `withBatches`: it may call into the C library, of Linux, to
 * take and send many datagrams at once (`MessageBatch`).
 */
export function permissionFlags(os: typeof Deno.build.os, withBatches = false): string[] {
  return [
    "--no-prompt",
    "--allow-net",
    `--allow-env=${READABLE_ENV_NAMES.join(",")}`,
    // DATA_DIR and the user's files are chosen at run time.
    "--allow-read",
    // As an entry of a list, the root can be given up later while the other stays.
    os === "linux" ? `--allow-write=/,${NOTIFY_SOCKET}` : "--allow-write",
    "--deny-run",
    withBatches ? `--allow-ffi=${LIBC_PATHS.join(",")}` : "--deny-ffi",
    "--deny-sys",
    "--deny-import",
  ];
}

/**
 * Gives up, for good, what a running node has no use for: every file and variable, and, from source, whatever else
 * Deno was started with. Files that are open stay usable; the network stays, narrowed by the node's own filter.
 * `isService`: a service manager goes on being told of the node, which takes writing to its socket.
 */
export function dropPermissions({ isService }: { isService: boolean }): void {
  if (isService) Deno.permissions.revokeSync({ name: "write", path: "/" });
  // Where writing was granted whole and not by a list, there is nothing to keep.
  if (!isService || Deno.permissions.querySync({ name: "write" }).state === "granted") {
    Deno.permissions.revokeSync({ name: "write" });
  }
  for (const name of ["read", "env", "run", "ffi", "sys", "import"] as const) {
    Deno.permissions.revokeSync({ name });
  }
}
