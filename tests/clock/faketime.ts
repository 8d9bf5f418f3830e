// The clock of a process, as libfaketime fakes it. Debian has it in the package `faketime`.

const LIBRARIES = "/usr/lib";

const LIBRARY = "faketime/libfaketimeMT.so.1";

function find(): string | undefined {
  const directories = [...Deno.readDirSync(LIBRARIES)].map(({ name }) => name);
  return directories.map((name) => `${LIBRARIES}/${name}/${LIBRARY}`).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

/** Whether these tests can't run here. CI counts them as failed then. */
export const isMissing = Deno.build.os !== "linux" || find() === undefined;

/** The wall clock of a process, which a test sets while the process runs. Its monotonic clock is the real one. */
export class WallClock {
  readonly #file = Deno.makeTempFileSync({ prefix: "dmnode-clock-" });
  #aheadMs = 0;

  constructor(aheadMs = 0) {
    this.set(aheadMs);
  }

  /** The variables for the process. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: find()!,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
  }

  /** What the clock shows, in milliseconds since 1970. */
  get now(): number {
    return Date.now() + this.#aheadMs;
  }

  /** Sets the clock to this much ahead of the real time. */
  set(aheadMs: number): void {
    this.#aheadMs = aheadMs;
    const seconds = Math.round(aheadMs / 1000);
    Deno.writeTextFileSync(this.#file, `${seconds < 0 ? seconds : `+${seconds}`}s\n`);
  }

  remove(): void {
    Deno.removeSync(this.#file);
  }
}

/** A busy machine can't run nodes as fast. CLOCK_SPEED=0.5 lets them live at half the speed. */
const SPEED = Number(Deno.env.get("CLOCK_SPEED") ?? 1);

/** The variables for a process whose clocks all run at `factor` times the real speed. */
export function accelerated(factor: number): Record<string, string> {
  return { LD_PRELOAD: find()!, FAKETIME: `+0 x${factor * SPEED}`, FAKETIME_NO_CACHE: "1" };
}
