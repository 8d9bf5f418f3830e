// Listens on a Unix socket, which only users with the permission to write to its file can reach.

import { firstLine } from "../krpc/error_text.ts";
import { ListenError } from "./errors.ts";

/** A Unix socket to listen on. */
export interface SocketFile {
  readonly path: string;
  /** The permissions of the socket's file, such as 0o660. */
  readonly mode: number;
  /** The name or the number of the file's group; null for the group of the process. */
  readonly group: string | null;
}

/** The mode of the directory in which the socket is created. */
const ONLY_OWNER = 0o700;

/** Listens on a Unix socket. Replaces the file of a program that has ended. @throws {ListenError} */
export async function listenOnSocket(
  { path, mode, group }: SocketFile,
): Promise<Deno.UnixListener> {
  try {
    const gid = group === null ? null : groupId(group);
    await removeStale(path);
    return listenAs(path, mode, gid);
  } catch (error) {
    if (error instanceof ListenError) throw error;
    throw new ListenError(`API_SOCKET ${path}: ${reasonOf(error)}`);
  }
}

/**
 * Creates the socket in a private directory, so that nobody can connect before it has its
 * permissions, and then moves it to its path.
 */
function listenAs(path: string, mode: number, gid: number | null): Deno.UnixListener {
  const directory = `${path}.new`, unfinished = `${directory}/s`;
  removeLeftover(unfinished);
  removeLeftover(directory);
  Deno.mkdirSync(directory, { mode: ONLY_OWNER });
  let listener: Deno.UnixListener | undefined;
  try {
    listener = Deno.listen({ transport: "unix", path: unfinished });
    if (gid !== null) Deno.chownSync(unfinished, null, gid);
    Deno.chmodSync(unfinished, mode);
    Deno.renameSync(unfinished, path);
    return listener;
  } catch (error) {
    listener?.close();
    throw error;
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Removes the socket or empty directory that an interrupted startup left behind. */
function removeLeftover(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Removes the file of a socket on which no program listens any more. A node has no permission to
 * remove its own file when it ends.
 */
async function removeStale(path: string): Promise<void> {
  let file: Deno.FileInfo;
  try {
    file = Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (file.isSocket !== true) {
    throw new ListenError(
      `API_SOCKET ${path}: there is another file; remove it, or choose another path`,
    );
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return Deno.removeSync(path);
    throw error;
  }
  throw new ListenError(`API_SOCKET ${path}: another program listens there; choose another path`);
}

/** The number of a group, from /etc/group. */
function groupId(group: string): number {
  if (/^\d{1,10}$/.test(group)) return Number(group);
  const line = Deno.readTextFileSync("/etc/group").split("\n")
    .find((line) => line.startsWith(`${group}:`));
  const id = line?.split(":")[2];
  if (id === undefined) throw new ListenError(`API_SOCKET_GROUP ${group}: there is no such group`);
  return Number(id);
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "its directory does not exist";
  return firstLine(error).replace(/ \(os error \d+\).*/, "");
}
