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

  constructor(delayMs: number) {
    this.#delayMs = delayMs;
  }

  postMessage(messages: readonly Sent[]): void {
    const data = structuredClone(messages);
    const arrive = () => this.other?.onmessage?.(new MessageEvent("message", { data }));
    if (this.#delayMs === 0) queueMicrotask(arrive);
    else setTimeout(arrive, this.#delayMs);
  }
}

class WorkerEnd extends End<FrontOrder, FrontReport> implements FrontWorker {
  onerror = null;

  terminate(): void {
    this.other = undefined;
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
