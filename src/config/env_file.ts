// Reads the text of a .env file, and warns about likely mistakes.

import { ConfigError, quote, withinEdits } from "./text.ts";

/** Matches a quoted value up to its closing quote, and a comment after it. The value may span several lines. */
const QUOTED = /(["'`])((?:\\\1|(?!\1)[^])*)\1[ \t]*(?:#.*)?(?:\n|$)/y;

/** An assignment in .env. `text` is the part of the value that is in the first line, as written. */
interface Assignment {
  readonly line: number;
  readonly name: string;
  readonly text: string;
  readonly value: string;
}

/** Parses .env text. Throws a ConfigError for a line that is neither an assignment, nor a comment, nor empty. */
export function parseEnvFile(text: string, fileName: string, known: readonly string[]) {
  const warnings: string[] = [], lineOf = new Map<string, number>();
  const found = [...assignments(text, (line, content) => {
    // Show only the first word, as the rest may be a secret.
    const word = /^\s*([^\s=:]*)/.exec(content)![1];
    const problem = `${quote(word)}… is not NAME=value, a comment or empty`;
    throw new ConfigError(`${fileName}, line ${line}: ${problem}`);
  })];
  for (const { line, name, text } of found) {
    for (const problem of problemsOf(name, text, { known, earlierLine: lineOf.get(name) })) {
      warnings.push(`${fileName}, line ${line}: ${problem}`);
    }
    lineOf.set(name, line);
  }
  return { variables: variablesOf(found), warnings };
}

/** Returns the variables in .env text. Skips lines that are not assignments. */
export function envVariables(text: string): Readonly<Record<string, string>> {
  return variablesOf([...assignments(text, () => {})]);
}

function variablesOf(found: readonly Assignment[]): Readonly<Record<string, string>> {
  return Object.fromEntries(found.map(({ name, value }) => [name, value]));
}

/**
 * Yields the assignments in .env text, in the syntax of the package dotenv. Calls `onOther` with each line that is
 * neither an assignment, nor a comment, nor empty.
 */
function* assignments(
  text: string,
  onOther: (line: number, content: string) => void,
): Generator<Assignment> {
  const whole = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n"), lines = whole.split("\n");
  for (let i = 0, next = 0; i < lines.length; i++) {
    const line = i + 1;
    next += lines[i].length + 1;
    if (/^\s*(#|$)/.test(lines[i])) continue;
    const match = /^\s*(?:export\s+)?([\w.-]+)(?:\s*=|:\s)\s*(.*)$/.exec(lines[i]);
    if (match === null) {
      onOther(line, lines[i]);
      continue;
    }
    const [, name, text] = match;
    QUOTED.lastIndex = next - 1 - text.length;
    const quoted = QUOTED.exec(whole);
    if (quoted === null) yield { line, name, text, value: text.replace(/#.*/, "").trim() };
    else {
      const [, mark, content] = quoted;
      const value = mark === '"' ? content.replace(/\\n/g, "\n").replace(/\\r/g, "\r") : content;
      yield { line, name, text, value };
      for (let more = content.split("\n").length - 1; more > 0; more--) {
        next += lines[++i].length + 1;
      }
    }
  }
}

function* problemsOf(
  name: string,
  value: string,
  { known, earlierLine }: {
    readonly known: readonly string[];
    readonly earlierLine: number | undefined;
  },
): Generator<string> {
  if (!known.includes(name)) {
    const meant = known.find((candidate) => looksLike(name, candidate));
    if (meant !== undefined) yield `${quote(name)} is not a setting; did you mean ${meant}?`;
    return;
  }
  if (earlierLine !== undefined) yield `${name} is set again; line ${earlierLine} has no effect`;
  if (/^[^\s"'`#][^\s#]*#/.test(value)) {
    yield `the value of ${name} ends at the #; quote it to keep the rest`;
  }
}

function looksLike(name: string, known: string): boolean {
  const upper = name.toUpperCase().replaceAll(/[.-]/g, "_").replace(/^DMNODE_/, "");
  if (upper === known) return true;
  // Don't compare short names: many unrelated names differ from a short name in one letter (NAT, PAT).
  return known.length > 4 && withinEdits(upper, known, known.length > 7 ? 2 : 1);
}
