/* What the Busway protocol (docs/protocol.md) is made of: numbers and texts in bytes, hashes, CBOR.

   Pure functions; knows no frame, clock or socket. Ids and uuids are hexadecimal text here and in leaf.js. */

const MALFORMED = 9;
const NAMESPACE = "f20665000bc64ea29d3a7801eb92bb6c";

// ---------------------------------------------------------------------------------------------- bytes

export const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
export const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

export const concat = (...pieces) => join(pieces);

/** The same of an array, which may be longer than a function takes arguments. */
export function join(pieces) {
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** What ends a link: never seen by users as an exception, for a peer's bytes never raise out of `receive`. */
export class Refusal extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

export class Reader {
  constructor(data, pos = 0, end = data.length) {
    this.data = data;
    this.pos = pos;
    this.end = end;
  }
  get left() {
    return this.end - this.pos;
  }
  take(size) {
    if (size > this.left) throw new Refusal(MALFORMED, "a frame ends before its fields");
    this.pos += size;
    return this.data.subarray(this.pos - size, this.pos);
  }
  u8() {
    return this.take(1)[0];
  }
  u16() {
    const [high, low] = this.take(2);
    return (high << 8) | low;
  }
  u32() {
    return this.u16() * 65536 + this.u16();
  }
  varint() {
    let value = 0;
    for (let group = 0; group < 5; group++) {
      const byte = this.u8();
      value += (byte & 0x7f) * 2 ** (7 * group);
      if (byte < 0x80 && value < 2 ** 32) return value;
      if (byte < 0x80) break;
    }
    throw new Refusal(MALFORMED, "a number of more than 32 bits");
  }
  text8() {
    const size = this.u8();
    if (size > 64) throw new Refusal(MALFORMED, "a text of more than 64 bytes");
    return this.text(size);
  }
  text(size) {
    try {
      return strict.decode(this.take(size));
    } catch (error) {
      throw error instanceof Refusal ? error : new Refusal(MALFORMED, "a text that is not UTF-8");
    }
  }
  rest() {
    return this.take(this.left);
  }
  finish() {
    if (this.left) throw new Refusal(MALFORMED, "bytes behind the fields of a frame");
  }
}

export function varint(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return [...bytes, value];
}
export const u16 = (value) => [(value >> 8) & 0xff, value & 0xff];
export const u32 = (value) => [...u16(Math.floor(value / 65536)), ...u16(value)];
export const text8 = (text) => {
  const bytes = utf8.encode(text);
  if (bytes.length > 64)
    throw new RangeError(`at most 64 bytes of UTF-8 were expected, not ${bytes.length}: ${text}`);
  return [bytes.length, ...bytes];
};

// ---------------------------------------------------------------------------------------------- hashes
// Of our own, because crypto.subtle is missing where a page came by plain http from another machine, and
// because it answers later, which a state machine cannot wait for. FIPS 180-4, RFC 2104.

const rotate = (word, by) => (word << by) | (word >>> (32 - by));

function padded(message) {
  const size = ((message.length + 8) >> 6) * 64 + 64;
  const all = new Uint8Array(size);
  all.set(message);
  all[message.length] = 0x80;
  const view = new DataView(all.buffer);
  view.setUint32(size - 8, Math.floor(message.length / 2 ** 29));
  view.setUint32(size - 4, message.length << 3);
  return view;
}

function digest(state) {
  const view = new DataView(new ArrayBuffer(state.length * 4));
  state.forEach((word, number) => view.setUint32(number * 4, word));
  return new Uint8Array(view.buffer);
}

export function sha1(message) {
  const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  const view = padded(message);
  const words = new Int32Array(80);
  for (let at = 0; at < view.byteLength; at += 64) {
    for (let i = 0; i < 80; i++) {
      words[i] =
        i < 16
          ? view.getInt32(at + i * 4)
          : rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    }
    let [a, b, c, d, e] = state;
    for (let i = 0; i < 80; i++) {
      const mixed =
        i < 20
          ? ((b & c) | (~b & d)) + 0x5a827999
          : i < 40
            ? (b ^ c ^ d) + 0x6ed9eba1
            : i < 60
              ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
              : (b ^ c ^ d) + 0xca62c1d6;
      [a, b, c, d, e] = [(rotate(a, 5) + mixed + e + words[i]) | 0, a, rotate(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((word, number) => (state[number] = (state[number] + word) | 0));
  }
  return digest(state);
}

const primes = [];
for (let number = 2; primes.length < 64; number++)
  if (primes.every((prime) => number % prime)) primes.push(number);
const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32) | 0;
const SHA256_START = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const SHA256_ROUNDS = primes.map((prime) => fraction(Math.cbrt(prime)));

export function sha256(message) {
  const state = [...SHA256_START];
  const view = padded(message);
  const words = new Int32Array(64);
  for (let at = 0; at < view.byteLength; at += 64) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) {
        words[i] = view.getInt32(at + i * 4);
        continue;
      }
      const early = words[i - 15],
        late = words[i - 2];
      words[i] =
        words[i - 16] +
        words[i - 7] +
        (rotate(early, 25) ^ rotate(early, 14) ^ (early >>> 3)) +
        (rotate(late, 15) ^ rotate(late, 13) ^ (late >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one =
        h +
        (rotate(e, 26) ^ rotate(e, 21) ^ rotate(e, 7)) +
        ((e & f) ^ (~e & g)) +
        SHA256_ROUNDS[i] +
        words[i];
      const two = (rotate(a, 30) ^ rotate(a, 19) ^ rotate(a, 10)) + ((a & b) ^ (a & c) ^ (b & c));
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((word, number) => (state[number] = (state[number] + word) | 0));
  }
  return digest(state);
}

export function hmacSha256(key, message) {
  const block = new Uint8Array(64);
  block.set(key.length > 64 ? sha256(key) : key);
  const inner = sha256(
    concat(
      block.map((byte) => byte ^ 0x36),
      message,
    ),
  );
  return sha256(
    concat(
      block.map((byte) => byte ^ 0x5c),
      inner,
    ),
  );
}

/** The uuid of an endpoint, as 32 hexadecimal digits: of a name the version 5, of a uuid itself. */
export function uuidOf(name) {
  if (typeof name !== "string") throw new TypeError(`an endpoint's name was expected, not ${typeof name}`);
  const digits = name.replaceAll("-", "").toLowerCase();
  if (/^[0-9a-f]{32}$/.test(digits)) return digits;
  const size = utf8.encode(name).length;
  if (size < 1 || size > 64)
    throw new RangeError(`an endpoint's name has 1 to 64 bytes of UTF-8, not ${size}`);
  const bytes = sha1(concat(unhex(NAMESPACE), utf8.encode(name))).slice(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x50;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return hex(bytes);
}

// ---------------------------------------------------------------------------------------------- CBOR, RFC 8949

/** A value with a CBOR tag that this module gives no meaning, such as a date. */
export class Tagged {
  constructor(tag, value) {
    this.tag = tag;
    this.value = value;
  }
}

function cborHead(out, major, value) {
  if (value < 24) out.push((major << 5) | Number(value));
  else if (value < 0x100) out.push((major << 5) | 24, Number(value));
  else if (value < 0x10000) out.push((major << 5) | 25, ...u16(Number(value)));
  else {
    const wide = value >= 2 ** 32;
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(value));
    out.push((major << 5) | (wide ? 27 : 26), ...new Uint8Array(view.buffer, wide ? 0 : 4));
  }
}

// Typed arrays, RFC 8746: the tag of each kind in this machine's order of bytes, and each tag's kind.
const LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
const ARRAYS = [
  [Uint8ClampedArray, 68, 68],
  [Uint8Array, 64, 64],
  [Uint16Array, 65, 69],
  [Uint32Array, 66, 70],
  [BigUint64Array, 67, 71],
  [Int8Array, 72, 72],
  [Int16Array, 73, 77],
  [Int32Array, 74, 78],
  [BigInt64Array, 75, 79],
  [Float32Array, 81, 85],
  [Float64Array, 82, 86],
];
const INTEGER_SIZE_MAX = 1024; // bytes of a large integer
const SHAPE = 40; // around the shape of an array and its numbers
const TRUTHS = 46512; // around bytes that are 0 or 1
const COMPLEX = 46513; // around floats of which each two are a number
const WHOLE = 256; // bytes of a string from which on it is copied as a whole

/** Whether a view is bytes, and no array of numbers. */
export function isBytes(value) {
  return value instanceof DataView || (value instanceof Uint8Array && !value.shape);
}

function cborArray(out, value) {
  const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const shape = value.shape;
  if (isBytes(value)) return cborBytes(out, 2, bytes);
  const kind = ARRAYS.find(([made]) => value instanceof made);
  if (!kind) throw new TypeError(`CBOR cannot carry a ${value.constructor.name}: send Array.from(it)`);
  if (shape) {
    if (!fits(shape, value)) throw new RangeError(`a shape of ${value.length} numbers was expected, not ${shape}`);
    cborHead(out, 6, SHAPE);
    cborHead(out, 4, 2);
    cborHead(out, 4, shape.length);
    for (const length of shape) cborHead(out, 0, length);
  }
  cborHead(out, 6, kind[LITTLE ? 2 : 1]);
  return cborBytes(out, 2, bytes);
}

/** Whether that many numbers have the shape: an array of lengths, the one of the rows first. */
function fits(shape, numbers) {
  if (!Array.isArray(shape) || !shape.every((length) => Number.isSafeInteger(length) && length >= 0)) return false;
  return shape.reduce((size, length) => size * length, 1) === numbers.length;
}

/** An array with its shape, which is left out where there is one dimension; a Tagged for what is none. */
function cborShaped(value) {
  let [shape, numbers] = Array.isArray(value) && value.length === 2 ? value : [];
  if (!Array.isArray(shape)) return new Tagged(SHAPE, value);
  if (numbers instanceof Tagged && numbers.tag === COMPLEX) shape = [...shape, 2];
  if (numbers instanceof Tagged && (numbers.tag === COMPLEX || numbers.tag === TRUTHS)) numbers = numbers.value;
  if (!ArrayBuffer.isView(numbers)) return new Tagged(SHAPE, value);
  if (!fits(shape, numbers)) throw new Refusal(MALFORMED, "CBOR with an array that is none");
  if (shape.length !== 1) numbers.shape = shape;
  return numbers;
}

/** What a tag means: a large integer or an array of numbers; any other stays a Tagged. */
function cborTagged(tag, value) {
  if (tag === SHAPE) return cborShaped(value);
  const bytes = value instanceof Uint8Array ? value : null;
  if (tag === 2 || tag === 3) {
    if (!bytes || bytes.length > INTEGER_SIZE_MAX) throw new Refusal(MALFORMED, "CBOR with a large integer that is none");
    const size = BigInt(`0x0${hex(bytes)}`);
    return tag === 2 ? size : -1n - size;
  }
  const kind = ARRAYS.find(([, big, little]) => tag === big || tag === little);
  if (!kind && tag !== 80 && tag !== 84) return new Tagged(tag, value);
  const width = kind ? kind[0].BYTES_PER_ELEMENT : 2;
  if (!bytes || bytes.length % width) throw new Refusal(MALFORMED, "CBOR with an array that is none");
  const own = Uint8Array.from(bytes); // aligned
  if (width > 1 && (tag === (kind ? kind[1] : 80)) === LITTLE)
    for (let at = 0; at < own.length; at += width) own.subarray(at, at + width).reverse();
  return kind ? new kind[0](own.buffer) : Float32Array.from(new Uint16Array(own.buffer), half);
}

function cborLarge(out, value) {
  const digits = (value < 0n ? -1n - value : value).toString(16);
  const bytes = unhex(digits.length % 2 ? `0${digits}` : digits);
  if (bytes.length > INTEGER_SIZE_MAX) throw new RangeError(`a whole number of at most ${INTEGER_SIZE_MAX} bytes was expected`);
  cborHead(out, 6, value < 0n ? 3 : 2);
  cborBytes(out, 2, bytes);
}

function cborNumber(out, value) {
  if (typeof value === "bigint" && (value >= 2n ** 64n || value < -(2n ** 64n))) return cborLarge(out, value);
  const whole = typeof value === "bigint" || (Number.isSafeInteger(value) && !Object.is(value, -0));
  if (whole)
    return value >= 0
      ? cborHead(out, 0, value)
      : cborHead(out, 1, typeof value === "bigint" ? -1n - value : -1 - value);
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  out.push(0xfb, ...new Uint8Array(view.buffer));
}

function cborWrite(out, value, depth) {
  if (depth > 64) throw new RangeError("at most 64 levels of arrays and maps were expected");
  if (value === null || value === undefined) out.push(0xf6);
  else if (typeof value === "boolean") out.push(value ? 0xf5 : 0xf4);
  else if (typeof value === "number" || typeof value === "bigint") cborNumber(out, value);
  else if (typeof value === "string") cborBytes(out, 3, utf8.encode(value));
  else if (value instanceof ArrayBuffer) cborBytes(out, 2, new Uint8Array(value));
  else if (ArrayBuffer.isView(value)) cborArray(out, value);
  else if (value instanceof Tagged) {
    cborHead(out, 6, value.tag);
    cborWrite(out, value.value, depth + 1);
  } else if (Array.isArray(value)) {
    cborHead(out, 4, value.length);
    for (const item of value) cborWrite(out, item, depth + 1);
  } else if (value instanceof Map || Object.prototype.toString.call(value) === "[object Object]") {
    const items = value instanceof Map ? [...value] : Object.entries(value);
    cborHead(out, 5, items.length);
    for (const [key, item] of items) {
      cborWrite(out, key, depth + 1);
      cborWrite(out, item, depth + 1);
    }
  } else throw new TypeError(`CBOR cannot carry ${unsendable(value)}`);
}

/** What cannot be sent, and what can be instead. */
function unsendable(value) {
  if (value instanceof Date)
    return "a Date: send date.toISOString(), or new Tagged(1, date.getTime() / 1000), a datetime elsewhere";
  if (value instanceof Set) return "a Set: send [...set]";
  return typeof value === "object" ? `a ${value.constructor?.name}` : `a ${typeof value}`;
}

function cborBytes(out, major, bytes) {
  cborHead(out, major, bytes.length);
  if (bytes.length >= WHOLE) out.push(bytes);
  else for (const byte of bytes) out.push(byte);
}

/** The bytes of what was written: single ones, and long strings of them as they are. */
function joined(out) {
  const pieces = [];
  let done = 0;
  out.forEach((item, at) => {
    if (typeof item === "number") return;
    pieces.push(Uint8Array.from(out.slice(done, at)), item);
    done = at + 1;
  });
  return join([...pieces, Uint8Array.from(done ? out.slice(done) : out)]);
}

/** The CBOR of a value: null, booleans, numbers, BigInts, strings, bytes (Uint8Array, ArrayBuffer, DataView), other
 * typed arrays (with a property `shape`, such as [1080, 1920, 3], arrays of several dimensions), arrays, Maps, objects. Throws TypeError or RangeError for anything else: a Date, a Set, an Error. */
export function encode(value) {
  const out = [];
  cborWrite(out, value, 0);
  return joined(out);
}

function half(bits) {
  const exponent = (bits >> 10) & 31,
    rest = bits & 1023,
    sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return rest ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + rest) * 2 ** (exponent - 25) : rest * 2 ** -24);
}

function cborArgument(reader, low) {
  if (low < 24) return low;
  if (low === 24) return reader.u8();
  if (low === 25) return reader.u16();
  if (low === 26) return reader.u32();
  if (low !== 27) throw new Refusal(MALFORMED, "CBOR with a reserved length");
  const value = (BigInt(reader.u32()) << 32n) | BigInt(reader.u32());
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

const BREAK = Symbol("break");
const ITEMS_MAX = 1 << 20; // as in other languages' clients: a byte may be an empty map, which takes many more

function cborRead(reader, depth) {
  if (depth > 64) throw new Refusal(MALFORMED, "CBOR of more than 64 levels");
  const first = reader.u8();
  const major = first >> 5,
    low = first & 31;
  if (first !== 0xff && ++reader.items > ITEMS_MAX)
    throw new Refusal(MALFORMED, `CBOR of more than ${ITEMS_MAX} items`);
  if (major === 7) return cborSimple(reader, low);
  const open = low === 31 && major >= 2 && major <= 5;
  const size = open ? Infinity : cborArgument(reader, low);
  if (major === 0) return size;
  if (major === 1)
    return typeof size === "bigint"
      ? -1n - size
      : size === Number.MAX_SAFE_INTEGER
        ? -1n - BigInt(size)
        : -1 - size;
  if (major === 2 || major === 3)
    return open ? cborPieces(reader, major, depth) : cborString(reader.take(Number(size)), major);
  if (major === 6) return cborTagged(size, cborRead(reader, depth + 1));
  const items = [];
  for (let count = 0; count < (major === 5 ? size * 2 : size); count++) {
    const item = cborRead(reader, depth + 1);
    if (item === BREAK && open) break;
    if (item === BREAK) throw new Refusal(MALFORMED, "CBOR with a break out of place");
    items.push(item);
  }
  return major === 4 ? items : cborMap(items);
}

function cborSimple(reader, low) {
  if (low === 31) return BREAK;
  if (low >= 20 && low < 24) return [false, true, null, undefined][low - 20];
  if (low === 25) return half(reader.u16());
  const view = new DataView(Uint8Array.from(reader.take(low === 26 ? 4 : low === 27 ? 8 : 0)).buffer);
  if (low === 26) return view.getFloat32(0);
  if (low === 27) return view.getFloat64(0);
  throw new Refusal(MALFORMED, "CBOR with an unknown simple value");
}

const cborString = (bytes, major) => (major === 2 ? Uint8Array.from(bytes) : strict.decode(bytes));

function cborPieces(reader, major, depth) {
  const pieces = [];
  for (let item = cborRead(reader, depth + 1); item !== BREAK; item = cborRead(reader, depth + 1))
    pieces.push(item);
  if (pieces.some((piece) => (major === 2 ? !(piece instanceof Uint8Array) : typeof piece !== "string"))) {
    throw new Refusal(MALFORMED, "CBOR with a string of other things");
  }
  return major === 2 ? join(pieces) : pieces.join("");
}

function cborMap(items) {
  if (items.length % 2) throw new Refusal(MALFORMED, "CBOR with a key without a value");
  const map = new Map();
  for (let at = 0; at < items.length; at += 2) map.set(items[at], items[at + 1]);
  if (map.size * 2 < items.length) throw new Refusal(MALFORMED, "CBOR with a key given twice");
  return [...map.keys()].every((key) => typeof key === "string") ? Object.fromEntries(map) : map;
}

/** The value of one whole CBOR item; a map with text keys becomes an object. Throws Error for anything else. */
export function decode(bytes) {
  const reader = new Reader(bytes);
  reader.items = 0;
  const value = cborRead(reader, 0);
  if (value === BREAK || reader.left) throw new Refusal(MALFORMED, "CBOR with a break or bytes out of place");
  return value;
}
