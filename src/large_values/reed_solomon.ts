// Reed-Solomon erasure coding over GF(256): computes the parity pieces of a stripe, and restores missing data pieces.

/** The maximum number of data pieces in a stripe, and of its parity pieces. */
export const MAX_DATA = 32, MAX_PARITY = 64;

/**
 * The polynomial of the field: x^8 + x^4 + x^3 + x^2 + 1. The element 2 generates the field: its powers are all
 * elements except 0.
 */
const POLYNOMIAL = 0x11d;

/** A multiplication table of the field: `PRODUCTS[256 * x + y]` is the product of x and y. */
const PRODUCTS = new Uint8Array(256 * 256);
const INVERSES = new Uint8Array(256);
{
  const powers = new Uint8Array(510), logarithms = new Uint8Array(256);
  for (let i = 0, power = 1; i < 255; i++) {
    powers[i] = powers[i + 255] = power;
    logarithms[power] = i;
    power = power << 1 ^ (power & 0x80 ? POLYNOMIAL : 0);
  }
  for (let x = 1; x < 256; x++) {
    INVERSES[x] = powers[255 - logarithms[x]];
    for (let y = 1; y < 256; y++) PRODUCTS[256 * x + y] = powers[logarithms[x] + logarithms[y]];
  }
}

/**
 * Returns the coefficient of data piece `column` in parity piece `row`. The coefficients form a Cauchy matrix, whose
 * square submatrices are all invertible. To restore a stripe, any set of as many pieces as the stripe has data pieces
 * is enough.
 */
function coefficient(row: number, column: number): number {
  return INVERSES[(255 - row) ^ column];
}

/** The number of parity pieces (rows) that the encoder computes at once: one for each byte of a 32-bit word. */
const LANES = 4;

/**
 * Lookup tables for four adjacent rows and a column: for each byte, its products with the four coefficients, in one
 * word. The coefficients depend only on `(255 - row) ^ column`, so few tables are needed.
 */
const WORDS = new Map<number, Uint32Array>();

function wordsOf(row: number, column: number): Uint32Array {
  const key = (255 - row) ^ column;
  let words = WORDS.get(key);
  if (words === undefined) {
    words = new Uint32Array(256);
    for (let lane = 0; lane < LANES; lane++) {
      const products = 256 * coefficient(row + lane, column);
      for (let x = 0; x < 256; x++) words[x] |= PRODUCTS[products + x] << 8 * lane;
    }
    WORDS.set(key, words);
  }
  return words;
}

/**
 * Returns `parity` parity pieces, one after another. `data` contains the stripe's data pieces of `length` bytes each.
 */
export function encode(data: Uint8Array, length: number, parity: number): Uint8Array {
  const coded = new Uint8Array(parity * length);
  encodeInto(data, { length, columns: data.length / length, parity }, coded);
  return coded;
}

/** Like {@link encode}, but writes the parity pieces to `coded`. Uses only the first `columns` pieces of `data`. */
export function encodeInto(
  data: Uint8Array,
  { length, columns, parity }: { length: number; columns: number; parity: number },
  coded: Uint8Array,
): void {
  if (SUMS.length < length) SUMS = new Uint32Array(length);
  const sums = SUMS.subarray(0, length);
  for (let row = 0; row < parity; row += LANES) {
    sums.fill(0);
    let column = 0;
    for (; column + 4 <= columns; column += 4) addFour(sums, data, { row, column });
    for (; column < columns; column++) addOne(sums, data, { row, column });
    const lanes = Math.min(LANES, parity - row);
    for (let lane = 0; lane < lanes; lane++) {
      const at = (row + lane) * length, shift = 8 * lane;
      for (let i = 0; i < length; i++) coded[at + i] = sums[i] >>> shift;
    }
  }
}

/** Scratch array for the sums of four rows, used only within a call of `encodeInto`. */
let SUMS = new Uint32Array(0);

/** A position in the code's matrix: the row of the first of four parity pieces, and the column of a data piece. */
interface Entry {
  readonly row: number;
  readonly column: number;
}

/** Adds the products of four columns in one pass, which loads and stores each sum only once. */
function addFour(sums: Uint32Array, data: Uint8Array, { row, column }: Entry): void {
  const { length } = sums;
  const words0 = wordsOf(row, column), words1 = wordsOf(row, column + 1);
  const words2 = wordsOf(row, column + 2), words3 = wordsOf(row, column + 3);
  const at0 = column * length, at1 = at0 + length, at2 = at1 + length, at3 = at2 + length;
  for (let i = 0; i < length; i++) {
    sums[i] ^= words0[data[at0 + i]] ^ words1[data[at1 + i]] ^ words2[data[at2 + i]] ^
      words3[data[at3 + i]];
  }
}

function addOne(sums: Uint32Array, data: Uint8Array, { row, column }: Entry): void {
  const { length } = sums, words = wordsOf(row, column), at = column * length;
  for (let i = 0; i < length; i++) sums[i] ^= words[data[at + i]];
}

/** A piece of a stripe. The data pieces have the lowest numbers, and the parity pieces follow. */
export interface NumberedPiece {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/**
 * Restores the missing data pieces of a stripe with `columns` data pieces. `pieces` must be different pieces of this
 * stripe, with at least as many parity pieces as data pieces are missing. Returns the missing pieces, by number.
 */
export function restore(
  pieces: readonly NumberedPiece[],
  columns: number,
): Map<number, Uint8Array> {
  const present = pieces.filter(({ number }) => number < columns);
  const numbers = new Set(present.map(({ number }) => number));
  const missing = Array.from({ length: columns }, (_, i) => i).filter((i) => !numbers.has(i));
  const rows = pieces.filter(({ number }) => number >= columns).slice(0, missing.length);
  if (rows.length < missing.length) throw new RangeError("too few pieces to restore a stripe");
  // Subtract the known data pieces. The remaining sums contain only products of the missing pieces.
  const sums = rows.map(({ number, bytes }) => {
    const sum = bytes.slice();
    for (const data of present) {
      addProduct(sum, coefficient(number - columns, data.number), data.bytes);
    }
    return sum;
  });
  const matrix = rows.map(({ number }) =>
    Uint8Array.from(missing, (column) => coefficient(number - columns, column))
  );
  const inverse = inverted(matrix);
  return new Map(missing.map((number, i) => {
    const bytes = new Uint8Array(pieces[0].bytes.length);
    sums.forEach((sum, row) => addProduct(bytes, inverse[i][row], sum));
    return [number, bytes];
  }));
}

/** Adds `factor` times `bytes` to `sum`, byte by byte, in the field. */
function addProduct(sum: Uint8Array, factor: number, bytes: Uint8Array): void {
  const products = PRODUCTS.subarray(256 * factor, 256 * factor + 256);
  for (let i = 0; i < sum.length; i++) sum[i] ^= products[bytes[i]];
}

/** Inverts a square matrix by Gauss-Jordan elimination. The matrix must be invertible. `matrix` is overwritten. */
function inverted(matrix: readonly Uint8Array[]): Uint8Array[] {
  const size = matrix.length;
  const inverse = matrix.map((_, i) => {
    const row = new Uint8Array(size);
    row[i] = 1;
    return row;
  });
  for (let i = 0; i < size; i++) {
    // All leading submatrices of a Cauchy matrix are invertible, so elimination never meets a zero and needs no row
    // exchanges.
    const factor = INVERSES[matrix[i][i]];
    scale(matrix[i], factor), scale(inverse[i], factor);
    for (let other = 0; other < size; other++) {
      if (other === i) continue;
      const multiple = matrix[other][i];
      addProduct(matrix[other], multiple, matrix[i]);
      addProduct(inverse[other], multiple, inverse[i]);
    }
  }
  return inverse;
}

function scale(row: Uint8Array, factor: number): void {
  for (let i = 0; i < row.length; i++) row[i] = PRODUCTS[256 * factor + row[i]];
}
