// Tests that the soak attributes the memory of a process to its users.

import assert from "node:assert/strict";
import { sumOf } from "./mappings.ts";

const SMAPS = `\
564a0e6b7000-564a123ab000 r-xp 01e04000 fe:00 4321                       /opt/deno
Size:              62416 kB
Rss:               31000 kB
564a1c9fc000-564a1da41000 rw-p 00000000 00:00 0                          [heap]
Rss:               16000 kB
7efc84000000-7efca3dc0000 rwxp 00000000 00:00 0 
Rss:                 500 kB
7efca4000000-7efca4856000 rw-p 00000000 00:00 0 
Rss:                8000 kB
7efca4856000-7efca8000000 ---p 00000000 00:00 0 
Rss:                   0 kB
7efcb0040000-7efcb0080000 rw-p 00000000 00:00 0 
Rss:                 256 kB
7efd00058000-7efd00200000 rw-p 00000000 00:00 0 
Rss:                1600 kB
7ffde83f3000-7ffde8460000 rw-p 00000000 00:00 0                          [stack]
Rss:                 400 kB
`;

Deno.test("the memory of a process is attributed to V8, to the C library and to files", () => {
  const { v8, native, files } = sumOf(SMAPS);
  assert.equal(v8, 0.756, "machine code and a heap page");
  assert.equal(native, 26, "heap, arena, a large allocation and stack");
  assert.equal(files, 31);
});
