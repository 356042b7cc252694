// The other side of a protected link (docs/protocol.md, section 3.2, pattern 2), by node's own cryptography: none of the client's.

import crypto from "node:crypto";

const NAME = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
const PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex"); // RFC 8410: what stands before a private key
const SPKI = Buffer.from("302a300506032b656e032100", "hex"); // and before a public one

const sha256 = (...pieces) => crypto.createHash("sha256").update(Buffer.concat(pieces)).digest();
const hmac = (key, data) => crypto.createHmac("sha256", key).update(data).digest();

export function publicOf(scalar) {
  return crypto.createPublicKey(privateOf(scalar)).export({ format: "der", type: "spki" }).subarray(-32);
}

const privateOf = (scalar) =>
  crypto.createPrivateKey({ key: Buffer.concat([PKCS8, scalar]), format: "der", type: "pkcs8" });

/** What two keys share. Throws for one of low order. */
export function shared(scalar, u) {
  const publicKey = crypto.createPublicKey({ key: Buffer.concat([SPKI, u]), format: "der", type: "spki" });
  return crypto.diffieHellman({ privateKey: privateOf(scalar), publicKey });
}

function nonceOf(count) {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64LE(BigInt(count), 4);
  return nonce;
}

export function seal(key, nonce, ad, plaintext) {
  const cipher = crypto.createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
  cipher.setAAD(ad);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** Throws for what was not sealed. */
export function open(key, nonce, ad, sealed) {
  const cipher = crypto.createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
  cipher.setAAD(ad);
  cipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]);
}

function framed(body) {
  const size = [];
  for (let left = body.length; ; left >>= 7) {
    size.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) return Buffer.concat([Buffer.from(size), body]);
  }
}

export class Responder {
  constructor(bus, token, ephemeral) {
    this.hash = this.chaining = sha256(Buffer.from(NAME));
    this.mix(Buffer.from([...Buffer.from("busway-2"), 0, 0, 2, bus.length, ...Buffer.from(bus)]));
    this.psk = hmac("busway-token-2", token);
    this.ephemeral = ephemeral;
    this.sent = this.read = 0;
  }

  mix(data) {
    this.hash = sha256(this.hash, data);
  }

  secret(material, both = false) {
    const derived = hmac(this.chaining, material);
    this.chaining = hmac(derived, Buffer.of(1));
    const second = hmac(derived, Buffer.concat([this.chaining, Buffer.of(2)]));
    if (both) this.mix(second);
    this.key = both ? hmac(derived, Buffer.concat([second, Buffer.of(3)])) : second;
  }

  /** The frame that answers the body of the client's first one; the client is refused by an exception. */
  answer(frame) {
    const message = frame.subarray(7);
    this.secret(this.psk, true);
    this.mix(message.subarray(0, 32));
    this.secret(message.subarray(0, 32));
    open(this.key, nonceOf(0), this.hash, message.subarray(32));
    this.mix(message.subarray(32));
    const mine = publicOf(this.ephemeral);
    this.mix(mine);
    this.secret(mine);
    this.secret(shared(this.ephemeral, message.subarray(0, 32)));
    const tag = seal(this.key, nonceOf(0), this.hash, Buffer.alloc(0));
    this.mix(tag);
    const derived = hmac(this.chaining, Buffer.alloc(0));
    this.theirs = hmac(derived, Buffer.of(1));
    this.mine = hmac(derived, Buffer.concat([this.theirs, Buffer.of(2)]));
    return framed(Buffer.concat([Buffer.of(2), mine, tag]));
  }

  record(plaintext) {
    return framed(seal(this.mine, nonceOf(this.sent++), Buffer.alloc(0), plaintext));
  }

  /** What each of these records holds. */
  records(bytes) {
    const found = [];
    for (let at = 0; at < bytes.length;) {
      let size = 0;
      for (let shift = 0; ; shift += 7) {
        size |= (bytes[at] & 127) << shift;
        if (bytes[at++] < 128) break;
      }
      found.push(open(this.theirs, nonceOf(this.read++), Buffer.alloc(0), bytes.subarray(at, at + size)));
      at += size;
    }
    return found;
  }
}
