// packaging/compile.ts recognizes executables, and refuses runtimes that it can't use.

import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { machineOf, TARGETS } from "../../packaging/targets.ts";

const COMPILE = fileURLToPath(new URL("../../packaging/compile.ts", import.meta.url));

/** Builds the start of a file from bytes at their offsets. */
function head(...parts: [offset: number, ...bytes: number[]][]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(256);
  for (const [offset, ...values] of parts) bytes.set(values, offset);
  return bytes;
}

const ELF = [0, 0x7f, 0x45, 0x4c, 0x46, 2, 1] as const;
const MACH_O = [0, 0xcf, 0xfa, 0xed, 0xfe] as const;
const PE = [[0, 0x4d, 0x5a], [60, 128], [128, 0x50, 0x45, 0, 0]] as [number, ...number[]][];

Deno.test("machineOf reads the machine from the head of an executable", () => {
  assert.equal(machineOf(head([...ELF], [18, 62, 0])), "ELF x86_64");
  assert.equal(machineOf(head([...ELF], [18, 183, 0])), "ELF aarch64");
  assert.equal(machineOf(head([...ELF], [18, 40, 0])), "ELF machine 40");
  assert.equal(machineOf(head([...MACH_O], [4, 7, 0, 0, 1])), "Mach-O x86_64");
  assert.equal(machineOf(head([...MACH_O], [4, 12, 0, 0, 1])), "Mach-O aarch64");
  assert.equal(machineOf(head(...PE, [132, 0x64, 0x86])), "PE x86_64");
  assert.equal(machineOf(head(...PE, [132, 0x64, 0xaa])), "PE aarch64");
  assert.equal(machineOf(head([0, 0x23, 0x21])), "unknown");
  assert.equal(machineOf(new Uint8Array(0)), "unknown");
  assert.equal(machineOf(head([0, 0x4d, 0x5a], [60, 255, 255, 255, 255])), "unknown");
});

Deno.test("the running Deno is an executable for this machine", async () => {
  using file = await Deno.open(Deno.execPath());
  const bytes = new Uint8Array(1024);
  await file.read(bytes);
  const here = TARGETS.find(({ triple }) => triple === Deno.build.target)!;
  assert.equal(machineOf(bytes), here.machine);
});

async function compile(args: string[], env: Record<string, string>) {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", COMPILE, ...args],
    env: { NO_COLOR: "1", ...env },
  }).output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("compile refuses a runtime for another machine, a missing runtime, and an unknown target", async () => {
  const directory = await Deno.makeTempDir();
  const other = join(directory, "denort");
  await Deno.writeFile(other, head([...ELF], [18, 40, 0]));
  const cases: [string[], Record<string, string>, RegExp][] = [
    [[], { DENORT_BIN: other }, /is for ELF machine 40, not for/],
    [
      ["--all"],
      { DENORT_BIN: Deno.execPath() },
      /unset it, so that Deno downloads a runtime for each/,
    ],
    [[], { DENORT_BIN: join(directory, "none") }, /none can't be read/],
    [["--target", "riscv64gc-unknown-linux-gnu"], {}, /no target riscv64gc-unknown-linux-gnu/],
    [["--nonsense"], {}, /^compile: Usage/],
  ];
  for (const [args, env, message] of cases) {
    const { code, stderr } = await compile(args, env);
    assert.equal(code, 1, stderr);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n\s+at /);
  }
  await Deno.remove(directory, { recursive: true });
});
