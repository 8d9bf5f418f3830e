// Fuzzing: the kept inputs and some random ones. `make fuzz` tries many more (run.ts).

import { ENV } from "./env.ts";
import { DATA_FILES } from "./files.ts";
import { FRAMES } from "./frames.ts";
import { IDENTITY } from "./identity.ts";
import { FUZZ_PACKETS } from "./packets.ts";
import { FuzzedApi } from "./requests.ts";
import { SEQUENCES } from "./sequences.ts";
import { slice } from "./subject.ts";

Deno.test("fuzz: after any sequence of packets, nodes answer, keep within their limits and hold no forgery", () =>
  slice(SEQUENCES, FUZZ_PACKETS / 1_000));

Deno.test("fuzz: the API answers every request as its document says, and the node stays ready", async () => {
  const api = await FuzzedApi.start();
  try {
    await slice(api.subject, FUZZ_PACKETS / 2_000);
  } finally {
    await api.close();
  }
});

Deno.test("fuzz: WebSocket frames are read in the same way wherever their bytes are cut, and never pile up", () =>
  slice(FRAMES, FUZZ_PACKETS / 20));

Deno.test("fuzz: a start with changed files succeeds or fails with one line, and values are never wrong", () =>
  slice(DATA_FILES, FUZZ_PACKETS / 5_000));

Deno.test("fuzz: an identity file is read, or refused with one line", () =>
  slice(IDENTITY, FUZZ_PACKETS / 200));

Deno.test("fuzz: a .env file is read, or refused with one line", () =>
  slice(ENV, FUZZ_PACKETS / 40));
