// A front in the test's own thread, on a clock of the test's: the same code behind the same messages.

import type { Clock } from "../../src/api/front.ts";
import { serveFront } from "../../src/api/front_service.ts";
import { FrontThread, type FrontWorker } from "../../src/api/front_thread.ts";
import type { FrontOrder, FrontReport } from "../../src/api/front_messages.ts";

/** One end; what it is given arrives at the other, as a copy. */
class End<Sent, Received> {
  onmessage: ((event: MessageEvent<readonly Received[]>) => void) | null = null;
  other: End<Received, Sent> | undefined;
  readonly #delayMs: number;
  readonly #late = new Set<ReturnType<typeof setTimeout>>();

  constructor(delayMs: number) {
    this.#delayMs = delayMs;
  }

  postMessage(messages: readonly Sent[]): void {
    const { other } = this;
    if (other === undefined) return;
    const data = structuredClone(messages);
    const arrive = () => other.onmessage?.(new MessageEvent("message", { data }));
    if (this.#delayMs === 0) return queueMicrotask(arrive);
    const timer = setTimeout(() => {
      this.#late.delete(timer);
      arrive();
    }, this.#delayMs);
    this.#late.add(timer);
  }

  /** Sends nothing more, nor what is on its way. */
  end(): void {
    this.other = undefined;
    for (const timer of this.#late) clearTimeout(timer);
  }
}

class WorkerEnd extends End<FrontOrder, FrontReport> implements FrontWorker {
  onerror = null;

  terminate(): void {
    this.other?.end();
    this.end();
  }
}

/** @param delayMs how late messages come, either way */
export function frontInProcess(clock: Clock, delayMs = 0): FrontThread {
  const near = new WorkerEnd(delayMs), far = new End<FrontReport, FrontOrder>(delayMs);
  near.other = far;
  far.other = near;
  const front = new FrontThread(near);
  serveFront(far, clock);
  return front;
}
