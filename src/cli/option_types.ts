// What the values of options have to be: each parser says so in the error of a value that is not.

import { InvalidArgumentError } from "commander";

/** A whole number within these bounds. */
export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It has to be a whole number from ${least} to ${most}.`);
  };
}

/** A number within these bounds, with or without a fraction. */
export function decimal(least: number, most: number, name = "number"): (text: string) => number {
  return (text) => {
    const value = /^(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It has to be a ${name} from ${least} to ${most}.`);
  };
}

/** The URL of an API, without a slash at its end. */
export function apiUrl(text: string): string {
  if (isApiUrl(text)) return text.replace(/\/+$/, "");
  throw new InvalidArgumentError("It has to be a URL such as http://127.0.0.1:8080.");
}

/** Whether it can be the URL of an API. */
export function isApiUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, search, hash } = new URL(text);
  return (protocol === "http:" || protocol === "https:") && search === "" && hash === "";
}
