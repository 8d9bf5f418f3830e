// Writes to the nodes closest to a target: a put of an item, or an announcement.

import type { Id } from "../../krpc/id.ts";
import { ErrorCode, type Method, type QueryArguments } from "../../krpc/message.ts";
import type { Millis } from "../deadlines.ts";
import type { Purpose } from "../purpose.ts";
import type { Placed } from "./lookup.ts";
import type { Queries } from "./queries.ts";

export interface Write {
  readonly queries: Queries;
  readonly method: Method;
  /** The nodes to write to, nearest first. Nodes without a token, or known to refuse such writes, are skipped. */
  readonly nodes: readonly Pick<Placed, "id" | "endpoint" | "token">[];
  readonly args: (token: Uint8Array, id: Id) => QueryArguments;
  /** The number of nodes to write to; k by default. */
  readonly count?: number;
  readonly stored?: readonly Id[];
  /** Whether a node already holds exactly this version. If so, its refusal with "seq too low" counts as a success. */
  readonly isCurrent?: (id: Id) => boolean;
  readonly onStored?: (id: Id, now: Millis) => void;
  /** Sends a query; `queries.send` by default. */
  readonly send?: Queries["send"];
  readonly purpose: Purpose;
}

export interface WriteResult {
  readonly stored: readonly Id[];
  readonly refusals: readonly { readonly code: number; readonly text: string }[];
}

/**
 * The maximum share of its nodes that a write replaces because of overdue answers. If more answers are overdue, our own
 * connection is probably slow. The write then waits for the answers instead of sending the value to more and more
 * nodes.
 */
const OVERDUE_SHARE = 1 / 4;

/** Writes to the closest nodes. If one of them fails, writes to the next farther node instead. */
export function write(
  { queries, method, nodes, args, count, stored: already = [], isCurrent, onStored, ...rest }:
    Write,
  now: Millis,
  done: (result: WriteResult, now: Millis) => void,
): void {
  const { purpose, send = queries.send.bind(queries) } = rest;
  const { tables } = queries, wanted = count ?? tables.k;
  const waiting = nodes.filter(({ id, token }) =>
    token !== undefined && !(method === "put" && tables.find(id)?.lacks("put"))
  );
  // Unreliable nodes get the value too, but in addition to the wanted number of other nodes.
  const unreliable = waiting.slice(0, wanted).filter(({ id }) => !isReliable(id));
  const most = wanted + unreliable.length;
  const stored = [...already];
  const refusals: { code: number; text: string }[] = [];
  /**
   * `aside` counts the open queries to unreliable or slow nodes, which don't count towards the
   * wanted number.
   */
  let open = 0, aside = 0, overdue = 0, isDone = false;
  const step = (at: Millis) => {
    if (isDone) return;
    // If our query to a node must wait or its answer is overdue, another node is asked too. The slow
    // node counts once it has answered.
    while (stored.length + open - aside < most && waiting.length > 0) {
      const { id, endpoint, token } = waiting.shift()!;
      open++;
      let isAside = false;
      const setAside = (later: Millis) => {
        isAside = true;
        aside++;
        step(later);
      };
      const query = { method, to: endpoint, args: args(token!, id), expected: id, purpose };
      send(query, at, {
        // In a small network, every copy matters. So the write also waits for queries that a rate limit delays.
        onHeld: (later) => nodes.length > wanted / 2 && setAside(later),
        onLate: () => {},
        onOverdue: (later) => {
          if (isAside || overdue >= OVERDUE_SHARE * wanted) return;
          overdue++;
          setAside(later);
        },
        done: (outcome, end) => {
          open--;
          if (isAside) aside--;
          if (outcome.kind === "response") {
            stored.push(id);
            onStored?.(id, end);
          } else if (outcome.kind === "error") {
            if (outcome.code === ErrorCode.seqTooLow && isCurrent?.(id)) stored.push(id);
            else refusals.push(outcome);
          }
          step(end);
        },
      });
    }
    const isWaiting = open > aside || (open > 0 && stored.length < wanted);
    if (isDone || isWaiting) return;
    isDone = true;
    done({ stored: [...stored], refusals }, at);
  };
  step(now);

  function isReliable(id: Id): boolean {
    return tables.find(id)?.isReliable ?? true;
  }
}
