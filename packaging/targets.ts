// The systems that dmnode is built for, and how to read an executable's machine from its first bytes.

type System = "linux" | "darwin" | "windows";

/** A system and processor, under the name that Deno uses. */
export interface Target {
  readonly triple: string;
  readonly os: System;
  /** The file's name in a release. */
  readonly file: string;
  /** The result of `machineOf` for this target's executable. */
  readonly machine: string;
}

export const TARGETS: readonly Target[] = [
  {
    triple: "x86_64-unknown-linux-gnu",
    os: "linux",
    file: "dmnode-linux-amd64",
    machine: "ELF x86_64",
  },
  {
    triple: "aarch64-unknown-linux-gnu",
    os: "linux",
    file: "dmnode-linux-arm64",
    machine: "ELF aarch64",
  },
  {
    triple: "x86_64-apple-darwin",
    os: "darwin",
    file: "dmnode-macos-amd64",
    machine: "Mach-O x86_64",
  },
  {
    triple: "aarch64-apple-darwin",
    os: "darwin",
    file: "dmnode-macos-arm64",
    machine: "Mach-O aarch64",
  },
  {
    triple: "x86_64-pc-windows-msvc",
    os: "windows",
    file: "dmnode-windows-amd64.exe",
    machine: "PE x86_64",
  },
];

/** The format and processor of an executable, from its first kilobyte, or `unknown`. */
export function machineOf(head: Uint8Array): string {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const at = (offset: number, bytes: 2 | 4) =>
    offset + bytes > view.byteLength
      ? -1
      : bytes === 2
      ? view.getUint16(offset, true)
      : view.getUint32(offset, true);
  const name = (machine: number, x86_64: number, aarch64: number) =>
    machine === x86_64 ? "x86_64" : machine === aarch64 ? "aarch64" : `machine ${machine}`;
  if (at(0, 4) === 0x464c457f) return `ELF ${name(at(18, 2), 62, 183)}`;
  if (at(0, 4) === 0xfeedfacf) return `Mach-O ${name(at(4, 4), 0x01000007, 0x0100000c)}`;
  if (at(0, 2) === 0x5a4d && at(at(60, 4), 4) === 0x4550) {
    return `PE ${name(at(at(60, 4) + 4, 2), 0x8664, 0xaa64)}`;
  }
  return "unknown";
}
