// A separate file system of a few megabytes, which tests can fill or make read-only (on Linux, with root or sudo).

import { join } from "node:path";

/** The command that gives root's rights; undefined if there is none. */
const asRoot: readonly string[] | undefined = Deno.build.os !== "linux"
  ? undefined
  : Deno.uid() === 0
  ? []
  : canSudo()
  ? ["sudo", "-n"]
  : undefined;

function canSudo(): boolean {
  try {
    return new Deno.Command("sudo", { args: ["-n", "true"], stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/**
 * Whether tests that need a volume are skipped: on systems without volumes, such as macOS, and on a developer's machine
 * without root's rights. In CI they must run.
 */
export const isPassedOver = Deno.build.os !== "linux" ||
  (asRoot === undefined && !Deno.env.get("CI"));

export class Volume {
  readonly #filler: string;

  private constructor(readonly path: string) {
    this.#filler = join(path, "filler");
  }

  /** Runs a test with a volume of this size. */
  static async with(bytes: number, body: (volume: Volume) => Promise<void>): Promise<void> {
    const path = await Deno.makeTempDir({ prefix: "dmnode-volume-" });
    await privileged("mount", "-t", "tmpfs", "-o", `size=${bytes},mode=777`, "tmpfs", path);
    try {
      await body(new Volume(path));
    } finally {
      await privileged("umount", "--lazy", path);
      await Deno.remove(path);
    }
  }

  /** Fills the volume. */
  fill(): void {
    using file = Deno.openSync(this.#filler, { write: true, create: true, append: true });
    for (let length = 1 << 20; length >= 1; length >>= 1) {
      const bytes = new Uint8Array(length);
      try {
        for (;;) file.writeSync(bytes);
      } catch {
        // There is no room for a piece of this size: try a smaller one.
      }
    }
  }

  /** Frees the room again. */
  free(): void {
    Deno.removeSync(this.#filler);
  }

  async setReadOnly(isReadOnly: boolean): Promise<void> {
    await privileged("mount", "-o", `remount,${isReadOnly ? "ro" : "rw"}`, this.path);
  }
}

async function privileged(...command: string[]): Promise<void> {
  if (asRoot === undefined) throw new Error(`${command[0]} takes root, or sudo without a password`);
  const [program, ...args] = [...asRoot, ...command];
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
