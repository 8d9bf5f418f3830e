// Measures which part of a process uses how much memory, from the mappings that Linux lists in /proc/PID/smaps.

/** V8 aligns the pages of its heaps to this. */
const V8_PAGE_BYTES = 256 << 10;

/** The C library aligns the arenas of its threads to this. */
const ARENA_BYTES = 64 << 20;

/** Resident memory of a process by its user, in MB. */
export interface Mappings {
  /** Heaps and machine code of V8. */
  readonly v8: number;
  /** Memory that the C library has allocated, for Deno, SQLite and array buffers, and the threads' stacks. */
  readonly native: number;
  /** Pages of files, such as Deno's program. */
  readonly files: number;
}

/** Measures a process. */
export async function mappingsOf(pid: number): Promise<Mappings> {
  return sumOf(await Deno.readTextFile(`/proc/${pid}/smaps`));
}

/** Sums up the resident memory of the mappings in a text of /proc/PID/smaps. */
export function sumOf(smaps: string): Mappings {
  const sums = { v8: 0, native: 0, files: 0 };
  let user: keyof Mappings = "native";
  for (const line of smaps.split("\n")) {
    const head = /^([0-9a-f]+)-[0-9a-f]+ (\S+) \S+ \S+ \S+ *(.*)$/.exec(line);
    if (head !== null) user = userOf(parseInt(head[1], 16), head[2], head[3]);
    const resident = /^Rss: +(\d+) kB$/.exec(line);
    if (resident !== null) sums[user] += Number(resident[1]) / 1000;
  }
  return sums;
}

function userOf(start: number, permissions: string, name: string): keyof Mappings {
  if (name.startsWith("/")) return "files";
  if (name !== "") return "native"; // [heap], [stack]
  if (permissions.includes("x")) return "v8";
  return start % V8_PAGE_BYTES === 0 && start % ARENA_BYTES !== 0 ? "v8" : "native";
}
