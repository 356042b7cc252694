/* Noise_NNpsk0_25519_ChaChaPoly_SHA256 (the Noise Protocol Framework, revision 34), as the side that begins.

   Sans-IO. Knows nothing of links: which bytes are agreed on before, and what is said afterwards, is known in
   channel.js. */

import { open, seal } from "./chacha20poly1305.js";
import { concat, hmacSha256, Refusal, sha256, utf8 } from "./codec.js";
import { MALFORMED } from "./codes.js";
import { publicKey, x25519 } from "./x25519.js";

const NAME = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
const DH_SIZE = 32;
const EMPTY = new Uint8Array(0);

/** Section 4.3, which is RFC 5869: three keys. */
export function hkdf(chaining, material) {
  const secret = hmacSha256(chaining, material);
  const first = hmacSha256(secret, [1]);
  const second = hmacSha256(secret, concat(first, [2]));
  return [first, second, hmacSha256(secret, concat(second, [3]))];
}

/** One direction (section 5.1): a key, and how often it was used. A number below 2^53 is enough for an age. */
export class CipherState {
  constructor(key) {
    this.key = key;
    this.count = 0;
  }

  nonce() {
    const nonce = new DataView(new ArrayBuffer(12));
    nonce.setUint32(4, this.count >>> 0, true);
    nonce.setUint32(8, Math.floor(this.count / 2 ** 32), true);
    return new Uint8Array(nonce.buffer);
  }

  encrypt(ad, plaintext) {
    const sealed = seal(this.key, this.nonce(), ad, plaintext);
    this.count++;
    return sealed;
  }

  /** Null, and nothing has changed, where it does not authenticate. */
  decrypt(ad, sealed) {
    const plaintext = open(this.key, this.nonce(), ad, sealed);
    if (plaintext) this.count++;
    return plaintext;
  }
}

/** The handshake: `write`, `read`, then `split`. */
export class Handshake {
  /** @param {Uint8Array} prologue what both sides must agree on. @param {Uint8Array} psk the secret that both have, 32 bytes.
      @param {Uint8Array} ephemeral 32 random bytes, for this handshake only. */
  constructor(prologue, psk, ephemeral) {
    this.hash = this.chaining = sha256(utf8.encode(NAME));
    this.mixHash(prologue);
    this.psk = psk;
    this.ephemeral = ephemeral;
  }

  /** The first message: -> psk, e */
  write(payload = EMPTY) {
    const [chaining, mixed, key] = hkdf(this.chaining, this.psk);
    this.chaining = chaining;
    this.mixHash(mixed);
    this.cipher = new CipherState(key);
    const mine = publicKey(this.ephemeral);
    this.mixPublic(mine);
    const sealed = this.cipher.encrypt(this.hash, payload);
    this.mixHash(sealed);
    return concat(mine, sealed);
  }

  /** The payload of the second: <- e, ee. Null if it is not of somebody who knows the secret and has read the first.
      @throws {Refusal} a key with which nobody honest comes. */
  read(message) {
    const theirs = message.subarray(0, DH_SIZE);
    const sealed = message.subarray(DH_SIZE);
    this.mixPublic(theirs);
    const shared = x25519(this.ephemeral, theirs);
    if (!shared.reduce((all, byte) => all | byte, 0))
      throw new Refusal(MALFORMED, "a public key of low order");
    this.mixKey(shared);
    const payload = this.cipher.decrypt(this.hash, sealed);
    this.mixHash(sealed);
    return payload;
  }

  /** What seals, and what opens, from now on. */
  split() {
    const [mine, theirs] = hkdf(this.chaining, EMPTY);
    return [new CipherState(mine), new CipherState(theirs)];
  }

  /** Section 9.2: a public key is a secret's salt, too, where there is a psk. */
  mixPublic(key) {
    this.mixHash(key);
    this.mixKey(key);
  }

  mixKey(material) {
    const [chaining, key] = hkdf(this.chaining, material);
    this.chaining = chaining;
    this.cipher = new CipherState(key);
  }

  mixHash(data) {
    this.hash = sha256(concat(this.hash, data));
  }
}
