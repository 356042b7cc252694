/* X25519 (RFC 7748): the secret that two sides share when each knows the other's public key.

   Of our own, as the hashes of codec.js are: crypto.subtle is missing where a page came by plain http from another
   machine, and answers later, which a state machine cannot wait for.

   A number modulo p = 2^255 - 19 is fifteen limbs of 17 bits, the least first, in doubles. Between the steps a limb
   may be negative or some bits too large: the sums of `multiply` stay below 2^45, and a double is exact to 2^53.
   No branch and no index depends on a secret, and there is no BigInt, whose time grows with its value; what the
   engine makes of doubles no script can promise. So use a key for one session only, as link.js does. */

const LIMBS = 15;
const RADIX = 2 ** 17;
const sums = new Float64Array(2 * LIMBS);

/** What a limb has above 17 bits goes to the next, and what is above 2^255 comes back as 19 times as many ones. */
function carry(f) {
  let over = 0;
  for (let k = 0; k < LIMBS; k++) {
    const limb = f[k] + over;
    over = Math.floor(limb / RADIX);
    f[k] = limb - over * RADIX;
  }
  f[0] += 19 * over;
}

// The first argument of each takes the result, and may be one of the others: to make new ones costs more than to multiply.

function add(out, f, g) {
  for (let k = 0; k < LIMBS; k++) out[k] = f[k] + g[k];
}

function subtract(out, f, g) {
  for (let k = 0; k < LIMBS; k++) out[k] = f[k] - g[k];
}

/** What came of a multiplication, in fifteen limbs. What comes back from above 2^255 is less than 2^34: it is over
    with the second limb, which may then have half a bit more than 17. */
function fold(out) {
  for (let k = 0; k < LIMBS; k++) out[k] = sums[k] + 19 * sums[k + LIMBS];
  carry(out);
  const over = Math.floor(out[0] / RADIX);
  out[0] -= over * RADIX;
  out[1] += over;
}

function multiply(out, f, g) {
  sums.fill(0);
  for (let i = 0; i < LIMBS; i++) {
    const limb = f[i];
    for (let k = 0; k < LIMBS; k++) sums[i + k] += limb * g[k];
  }
  fold(out);
}

/** f times f, in half the steps: what two limbs give stands there twice. */
function square(out, f) {
  sums.fill(0);
  for (let i = 0; i < LIMBS; i++) {
    const limb = f[i];
    sums[2 * i] += limb * limb;
    for (let k = i + 1; k < LIMBS; k++) sums[i + k] += 2 * limb * f[k];
  }
  fold(out);
}

/** f, squared that many times, and then times g. */
function raised(f, times, g) {
  const made = Float64Array.from(f);
  for (let k = 0; k < times; k++) square(made, made);
  multiply(made, made, g);
  return made;
}

/** 1 / f, which is f^(p - 2) (Fermat): p - 2 is 250 ones and then 01011, which are 11. */
function invert(out, f) {
  const f2 = new Float64Array(LIMBS);
  square(f2, f);
  const f9 = raised(f2, 2, f);
  const f11 = raised(f9, 0, f2);
  const ones5 = raised(f11, 1, f9);
  const ones10 = raised(ones5, 5, ones5);
  const ones20 = raised(ones10, 10, ones10);
  const ones40 = raised(ones20, 20, ones20);
  const ones50 = raised(ones40, 10, ones10);
  const ones100 = raised(ones50, 50, ones50);
  const ones200 = raised(ones100, 100, ones100);
  out.set(raised(raised(ones200, 50, ones50), 5, f11));
}

/** They change places if `bit` is 1 and stay if it is 0, by the same arithmetic. */
function swap(bit, f, g) {
  for (let k = 0; k < LIMBS; k++) {
    const change = bit * (f[k] - g[k]);
    f[k] -= change;
    g[k] += change;
  }
}

const bitOf = (bytes, at) => (bytes[at >> 3] >> (at & 7)) & 1;

/** The number in 32 bytes, the least first, without their last bit. */
function read(bytes) {
  const f = new Float64Array(LIMBS);
  for (let at = 0; at < 255; at++) f[Math.floor(at / 17)] += bitOf(bytes, at) << (at % 17);
  return f;
}

function write(f) {
  carry(f);
  carry(f); // now it is below p + 38: with 19 more it wraps if it is p or more, and 19 less are what it is below p
  f[0] += 19;
  carry(f);
  f[0] -= 19;
  carry(f);
  const bytes = new Uint8Array(32);
  for (let at = 0; at < 255; at++) bytes[at >> 3] |= ((f[Math.floor(at / 17)] >> (at % 17)) & 1) << (at & 7);
  return bytes;
}

/** The point `u` taken `scalar` times; both are 32 bytes, and so is the result. All zero for a `u` of small order.

    The Montgomery ladder of RFC 7748, section 5. */
export function x25519(scalar, u) {
  const times = Uint8Array.from(scalar);
  times[0] &= 248;
  times[31] = (times[31] & 127) | 64;
  const x1 = read(u);
  const [x2, z2, x3, z3] = [read([1]), read([]), read(u), read([1])];
  const [a, b, c, d] = [read([]), read([]), read([]), read([])];
  let swapped = 0;
  for (let at = 254; at >= 0; at--) {
    const bit = bitOf(times, at);
    swap(bit ^ swapped, x2, x3);
    swap(bit ^ swapped, z2, z3);
    swapped = bit;
    add(a, x2, z2);
    subtract(b, x2, z2);
    add(c, x3, z3);
    subtract(d, x3, z3);
    multiply(d, d, a);
    multiply(c, c, b);
    add(x3, d, c);
    square(x3, x3);
    subtract(z3, d, c);
    square(z3, z3);
    multiply(z3, z3, x1);
    square(a, a);
    square(b, b);
    multiply(x2, a, b);
    subtract(b, a, b);
    for (let k = 0; k < LIMBS; k++) z2[k] = a[k] + 121665 * b[k];
    carry(z2);
    multiply(z2, z2, b);
  }
  swap(swapped, x2, x3);
  swap(swapped, z2, z3);
  invert(a, z2);
  multiply(a, a, x2);
  return write(a);
}

/** The public key of a private one of 32 random bytes. */
export const publicKey = (scalar) => x25519(scalar, [9]);
