// `dmnode watch`: a running node as it lives, on a terminal that is drawn over and over, or as lines of JSON.

import type { z } from "zod";
import type { PeersResponse } from "../api/schemas.ts";
import { Api, type ApiFlags } from "./api_client.ts";
import { Interrupted, UserError } from "./errors.ts";
import { listen } from "./event_client.ts";
import { interruptible } from "./interrupt.ts";
import { keepConnected } from "./reconnect.ts";
import { print, stderr, stdout, terminalSize } from "./terminal.ts";
import { renderWatch, WatchedNode } from "./watch_view.ts";

type Peers = z.output<typeof PeersResponse>;

export interface WatchFlags extends ApiFlags {
  readonly types?: string;
  readonly since?: number;
}

/** Figures change every second; what happens in between is shown as soon as this. */
const REDRAW_MS = 100;

/** How often scores and round-trip times are asked for, and how soon after peers came or went. */
const PEERS_MS = 5_000, PEERS_SOON_MS = 500;

/** Watches a node until it is told to end. */
export async function watch(flags: WatchFlags): Promise<void> {
  const api = new Api(flags);
  const isView = !flags.json && stdout.isTerminal && Deno.stdin.isTerminal() && !isDumb();
  try {
    await interruptible((signal) =>
      isView ? showNode(api, flags, signal) : printEvents(api, flags, signal)
    );
  } catch (error) {
    // Its regular end.
    if (!(error instanceof Interrupted)) throw error;
  }
}

/** Whether the terminal has no way to write over what it shows. */
function isDumb(): boolean {
  return Deno.env.get("TERM") === "dumb";
}

/** A line of JSON for each event. */
async function printEvents(api: Api, flags: WatchFlags, signal: AbortSignal): Promise<void> {
  let since = flags.since;
  await keepConnected(signal, {
    run: (signal, opened) =>
      listen(api, { types: flags.types, since }, signal, opened, (event, text) => {
        since = event.id ?? since;
        print(text);
      }),
    lost: (why) => stderr.write(`dmnode: the connection was lost (${why}); trying again\n`),
    regained: () => stderr.write("dmnode: connected again\n"),
  });
}

/** The live view, until a key ends it. */
async function showNode(api: Api, flags: WatchFlags, signal: AbortSignal): Promise<void> {
  const node = new WatchedNode(flags.types);
  const ended = new AbortController();
  const both = AbortSignal.any([signal, ended.signal]);
  const screen = new Screen((size) =>
    renderWatch(node, {
      ...size,
      now: Date.now(),
      url: api.url,
      paint: stdout.paint.bind(stdout),
    })
  );
  const peers = new PeerPoll(api, (list) => {
    node.peers = list;
    screen.drawSoon();
  });
  // The terminal is taken only once there is something to show.
  const begin = () => {
    screen.open();
    peers.askSoon();
    void readKeys(() => ended.abort());
  };
  let isOpen = false;
  try {
    await keepConnected(both, {
      run: (signal, opened) =>
        listen(
          api,
          { types: undefined, since: node.lastId },
          signal,
          () => {
            if (!isOpen) begin();
            isOpen = true;
            opened();
          },
          (event) => {
            if (node.note(event)) peers.askSoon();
            screen.drawSoon();
          },
        ),
      lost: (why, waitMs) => {
        node.connection = { state: "lost", why, retryAt: Date.now() + waitMs };
        screen.drawSoon();
      },
      regained: () => {
        node.connection = { state: "open" };
        screen.drawSoon();
      },
    });
  } catch (error) {
    if (!ended.signal.aborted) throw error;
  } finally {
    peers.stop();
    screen.close();
  }
}

/** The list of peers, now and then: events don't tell of scores and round-trip times. */
class PeerPoll {
  readonly #api: Api;
  readonly #told: (peers: Peers["peers"]) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueAt = Infinity;
  #isAsking = false;
  #isStopped = false;

  constructor(api: Api, told: (peers: Peers["peers"]) => void) {
    this.#api = api;
    this.#told = told;
  }

  askSoon(): void {
    this.#arm(PEERS_SOON_MS);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #arm(ms: number): void {
    const at = performance.now() + ms;
    if (this.#isStopped || this.#isAsking || at >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = at;
    this.#timer = setTimeout(() => void this.#ask(), ms);
  }

  async #ask(): Promise<void> {
    this.#isAsking = true;
    try {
      this.#told((await this.#api.get<Peers>("/network/peers", "peers")).peers);
    } catch (error) {
      // The connection of the events tells what is wrong.
      if (!(error instanceof UserError)) throw error;
    } finally {
      this.#isAsking = false;
      this.#dueAt = Infinity;
      this.#arm(PEERS_MS);
    }
  }
}

/** What keys such as the arrows begin with; and q, Q and Ctrl-C, which is a key like others while the view is shown. */
const ESCAPE = 0x1b, QUIT = [0x71, 0x51, 0x03];

/** Calls `quit` at q, Ctrl-C, or the terminal's end. Other keys do nothing. */
async function readKeys(quit: () => void): Promise<void> {
  const buffer = new Uint8Array(64);
  for (;;) {
    const length = await Deno.stdin.read(buffer).catch(() => null);
    if (length === null) return quit();
    const keys = buffer.subarray(0, length);
    if (keys[0] !== ESCAPE && keys.some((key) => QUIT.includes(key))) return quit();
  }
}

// ECMA-48 and xterm's control sequences: another screen without a cursor and without wrapping, and all of it back.
const OPEN = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J", CLOSE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/** A frame is shown as a whole, by terminals that know this. */
const BEGIN_FRAME = "\x1b[?2026h", END_FRAME = "\x1b[?2026l";

type Size = ReturnType<typeof terminalSize>;

/** The terminal's whole screen. What has not changed is not written again. */
class Screen {
  readonly #render: (size: Size) => readonly string[];
  readonly #resized = () => this.#draw();
  #shown: readonly string[] = [];
  #size: Size = { columns: 0, rows: 0 };
  #isOpen = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #clock: ReturnType<typeof setInterval> | undefined;

  constructor(render: (size: Size) => readonly string[]) {
    this.#render = render;
  }

  open(): void {
    Deno.stdin.setRaw(true);
    this.#isOpen = true;
    stdout.write(OPEN);
    // Windows has no such signal; there the clock sees to it.
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGWINCH", this.#resized);
    this.#clock = setInterval(this.#resized, 1_000);
    this.#draw();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#timer);
    clearInterval(this.#clock);
    if (Deno.build.os !== "windows") Deno.removeSignalListener("SIGWINCH", this.#resized);
    Deno.stdin.setRaw(false);
    stdout.write(CLOSE);
  }

  drawSoon(): void {
    if (!this.#isOpen) return;
    this.#timer ??= setTimeout(() => this.#draw(), REDRAW_MS);
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const size = terminalSize();
    const isSame = size.columns === this.#size.columns && size.rows === this.#size.rows;
    const before = isSame ? this.#shown : [];
    const lines = this.#render(size);
    const changed = lines.map((line, i) =>
      line === before[i] ? "" : `\x1b[${i + 1};1H${line}\x1b[K`
    );
    this.#shown = lines;
    this.#size = size;
    const text = (isSame ? "" : "\x1b[2J") + changed.join("");
    if (text !== "") stdout.write(BEGIN_FRAME + text + END_FRAME);
  }
}
