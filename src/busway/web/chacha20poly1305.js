/* ChaCha20-Poly1305 (RFC 8439): bytes that nobody without the key can read, or change without its being noticed.

   Of our own, for the reasons in x25519.js, and because crypto.subtle has it nowhere. Additions, rotations and
   products only, at places that depend on no secret. */

import { concat } from "./codec.js";

const TAG_SIZE = 16;

const word = (bytes, at) => bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);

// ---------------------------------------------------------------------------------------------- ChaCha20

const BLOCK = 64;
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574];
const rotate = (number, by) => (number << by) | (number >>> (32 - by));

function quarter(s, i, j, k, l) {
  let a = s[i];
  let b = s[j];
  let c = s[k];
  let d = s[l];
  a = (a + b) | 0;
  d = rotate(d ^ a, 16);
  c = (c + d) | 0;
  b = rotate(b ^ c, 12);
  a = (a + b) | 0;
  d = rotate(d ^ a, 8);
  c = (c + d) | 0;
  b = rotate(b ^ c, 7);
  s[i] = a;
  s[j] = b;
  s[k] = c;
  s[l] = d;
}

const s = new Int32Array(16);

/** The block of the key's stream that follows from the 16 words of `start`, into `out`, a DataView. */
function block(out, start) {
  s.set(start);
  for (let round = 0; round < 10; round++) {
    quarter(s, 0, 4, 8, 12);
    quarter(s, 1, 5, 9, 13);
    quarter(s, 2, 6, 10, 14);
    quarter(s, 3, 7, 11, 15);
    quarter(s, 0, 5, 10, 15);
    quarter(s, 1, 6, 11, 12);
    quarter(s, 2, 7, 8, 13);
    quarter(s, 3, 4, 9, 14);
  }
  for (let i = 0; i < 16; i++) out.setInt32(4 * i, s[i] + start[i], true);
}

/** `data` with the stream of `key` (32 bytes) and `nonce` (12 bytes) put over it, from block `count` on: there and back. */
export function chacha20(key, nonce, count, data) {
  const start = new Int32Array(16);
  start.set(CONSTANTS);
  for (let i = 0; i < 8; i++) start[4 + i] = word(key, 4 * i);
  start[12] = count;
  for (let i = 0; i < 3; i++) start[13 + i] = word(nonce, 4 * i);
  const stream = new Uint8Array(BLOCK);
  const view = new DataView(stream.buffer);
  const out = new Uint8Array(data.length);
  for (let at = 0; at < data.length; at += BLOCK) {
    block(view, start);
    start[12]++;
    const size = Math.min(BLOCK, data.length - at);
    for (let i = 0; i < size; i++) out[at + i] = data[at + i] ^ stream[i];
  }
  return out;
}

// ---------------------------------------------------------------------------------------------- Poly1305
// A number modulo p = 2^130 - 5 is six limbs of 22 bits, the least first, in doubles. 2^132 wraps to 20; what is
// summed up stays below 2^52, and a double is exact to 2^53.

const LIMBS = 6;
const RADIX = 2 ** 22;
const MASK = RADIX - 1;
const TOP = 2 ** 20; // 2^130, in the last limb

/** The limbs of 16 bytes. */
function limbs(bytes) {
  const [a, b, c, d] = [0, 4, 8, 12].map((at) => word(bytes, at));
  const least = [a & MASK, (a >>> 22) | ((b & 0xfff) << 10), (b >>> 12) | ((c & 3) << 20)];
  return Float64Array.of(...least, (c >>> 2) & MASK, (c >>> 24) | ((d & 0x3fff) << 8), d >>> 14);
}

/** For each 16 of `bytes`: `h` becomes (`h` + these + 2^128) times `r`. */
function absorb(h, r, bytes) {
  const [r0, r1, r2, r3, r4, r5] = r;
  const [, w1, w2, w3, w4, w5] = r.map((limb) => 20 * limb); // what a product has above 2^132
  let [h0, h1, h2, h3, h4, h5] = h;
  for (let at = 0; at < bytes.length; at += 16) {
    const a = word(bytes, at);
    const b = word(bytes, at + 4);
    const c = word(bytes, at + 8);
    const d = word(bytes, at + 12);
    h0 += a & MASK;
    h1 += (a >>> 22) | ((b & 0xfff) << 10);
    h2 += (b >>> 12) | ((c & 3) << 20);
    h3 += (c >>> 2) & MASK;
    h4 += (c >>> 24) | ((d & 0x3fff) << 8);
    h5 += (d >>> 14) + 2 ** 18;
    const s0 = h0 * r0 + h1 * w5 + h2 * w4 + h3 * w3 + h4 * w2 + h5 * w1;
    const s1 = h0 * r1 + h1 * r0 + h2 * w5 + h3 * w4 + h4 * w3 + h5 * w2 + Math.floor(s0 / RADIX);
    const s2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * w5 + h4 * w4 + h5 * w3 + Math.floor(s1 / RADIX);
    const s3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * w5 + h5 * w4 + Math.floor(s2 / RADIX);
    const s4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0 + h5 * w5 + Math.floor(s3 / RADIX);
    const s5 = h0 * r5 + h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1 + h5 * r0 + Math.floor(s4 / RADIX);
    h0 = low(s0) + 20 * Math.floor(s5 / RADIX);
    h1 = low(s1) + Math.floor(h0 / RADIX);
    h0 = low(h0);
    h2 = low(s2);
    h3 = low(s3);
    h4 = low(s4);
    h5 = low(s5);
  }
  h.set([h0, h1, h2, h3, h4, h5]);
}

const low = (sum) => sum - Math.floor(sum / RADIX) * RADIX;

/** What a limb has above 22 bits goes to the next. */
function carry(h) {
  for (let k = 0; k < LIMBS - 1; k++) {
    h[k + 1] += Math.floor(h[k] / RADIX);
    h[k] = low(h[k]);
  }
}

/** `h` modulo p: below it, in limbs of 22 bits. */
function reduce(h) {
  for (let time = 0; time < 2; time++) {
    carry(h);
    const over = Math.floor(h[5] / TOP);
    h[5] -= over * TOP;
    h[0] += 5 * over; // 2^130 wraps
  }
  h[0] += 5;
  carry(h); // with 5 more it has bit 130 if it was p or more
  const wraps = Math.floor(h[5] / TOP);
  h[5] -= wraps * TOP;
  h[0] -= 5 * (1 - wraps);
  carry(h);
}

/** The tag of `pieces` under a key of 32 bytes that is used for nothing else; each piece is filled up with zeros to whole
    blocks of 16 bytes, as the RFC's section 2.8 has it. */
export function poly1305(key, ...pieces) {
  const clamped = Uint8Array.from(key.subarray(0, 16));
  for (const at of [3, 7, 11, 15]) clamped[at] &= 15;
  for (const at of [4, 8, 12]) clamped[at] &= 252;
  const r = limbs(clamped);
  const h = new Float64Array(LIMBS);
  for (const piece of pieces)
    absorb(h, r, piece.length % 16 ? concat(piece, new Uint8Array(16 - (piece.length % 16))) : piece);
  reduce(h);
  limbs(key.subarray(16)).forEach((limb, k) => (h[k] += limb));
  carry(h); // what is above 2^128 is dropped
  const tag = new DataView(new ArrayBuffer(TAG_SIZE));
  tag.setInt32(0, h[0] | (h[1] << 22), true);
  tag.setInt32(4, (h[1] >> 10) | (h[2] << 12), true);
  tag.setInt32(8, (h[2] >> 20) | (h[3] << 2) | (h[4] << 24), true);
  tag.setInt32(12, (h[4] >> 8) | (h[5] << 14), true);
  return new Uint8Array(tag.buffer);
}

// ---------------------------------------------------------------------------------------------- both

function tagOf(key, nonce, ad, ciphertext) {
  const sizes = new DataView(new ArrayBuffer(16));
  sizes.setUint32(0, ad.length, true);
  sizes.setUint32(8, ciphertext.length, true);
  const once = chacha20(key, nonce, 0, new Uint8Array(32));
  return poly1305(once, ad, ciphertext, new Uint8Array(sizes.buffer));
}

/** `plaintext` as ciphertext, with a tag of 16 bytes behind it that vouches for it and for `ad`.
    No two may have the same `key` (32 bytes) and `nonce` (12 bytes). */
export function seal(key, nonce, ad, plaintext) {
  const ciphertext = chacha20(key, nonce, 1, plaintext);
  return concat(ciphertext, tagOf(key, nonce, ad, ciphertext));
}

/** What was sealed, or null if that is not what these bytes are. */
export function open(key, nonce, ad, sealed) {
  if (sealed.length < TAG_SIZE) return null;
  const ciphertext = sealed.subarray(0, sealed.length - TAG_SIZE);
  const tag = sealed.subarray(sealed.length - TAG_SIZE);
  let difference = 0;
  tagOf(key, nonce, ad, ciphertext).forEach((byte, at) => (difference |= byte ^ tag[at]));
  return difference ? null : chacha20(key, nonce, 1, ciphertext);
}
