// Reads the Accept header.

/** Whether the Accept header `accept` names `type` in full, with a weight above 0 (RFC 9110, section 12.4.2). */
export function accepts(accept: string | null | undefined, type: string): boolean {
  return (accept ?? "").toLowerCase().split(",").some((range) => {
    const [name, ...parameters] = range.split(";").map((part) => part.trim());
    const weight = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2);
    return name === type && (weight === undefined || Number(weight) > 0);
  });
}
