// A file system of its own, of a few megabytes, that can be full and read-only (Linux, by root or sudo).

import { join } from "node:path";

/** What leads to root's rights here; undefined where nothing does. */
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
 * Whether a test that needs a volume is passed over: where there are none, as on macOS, and on a developer's machine
 * without the rights. In CI it has to run, and fails where it can't.
 */
export const isPassedOver = Deno.build.os !== "linux" ||
  (asRoot === undefined && !Deno.env.get("CI"));

export class Volume {
  readonly #filler: string;

  private constructor(readonly path: string) {
    this.#filler = join(path, "filler");
  }

  /** Runs a test with a volume that holds so many bytes. */
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

  /** Takes all the room that there is. */
  fill(): void {
    using file = Deno.openSync(this.#filler, { write: true, create: true, append: true });
    for (let length = 1 << 20; length >= 1; length >>= 1) {
      const bytes = new Uint8Array(length);
      try {
        for (;;) file.writeSync(bytes);
      } catch {
        // no room for so many
      }
    }
  }

  /** Gives it back. */
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
