/* What protects one link (docs/protocol.md, section 3.2): a handshake of pattern 2, then records. The side that dials.

   Sans-IO. Records hold bytes of the stream of frames, cut anywhere; what they are is known in link.js. */

import { concat, hmacSha256, join, Refusal, text8, utf8, varint } from "./codec.js";
import { CLOSE, FORGED, MALFORMED, NNPSK0, TOO_LARGE } from "./codes.js";
import { Handshake } from "./noise.js";

const MESSAGE_SIZE = 48;
const TAG_SIZE = 16;
const RECORD_MAX = 65535; // bytes of ciphertext, tag included
const EMPTY = new Uint8Array(0);

const text = new TextDecoder("utf-8", { fatal: true });

/** Whether these bytes are a CLOSE, and no record that begins like one: those are not UTF-8 behind that. */
function isClose(sealed) {
  if (sealed[0] !== CLOSE) return false;
  try {
    text.decode(sealed.subarray(1));
    return true;
  } catch {
    return false;
  }
}

export class Channel {
  /** @param bus its name, which both sides must have. @param {{token: string, ephemeral: Uint8Array}} secret the token, and
      32 random bytes for this link only. */
  constructor(bus, { token, ephemeral }) {
    const prologue = Uint8Array.from([...utf8.encode("busway-2"), 0, 0, NNPSK0, ...text8(bus)]);
    const psk = hmacSha256(utf8.encode("busway-token-2"), utf8.encode(token));
    this.handshake = new Handshake(prologue, psk, ephemeral);
    this.ready = false; // whether there are keys
  }

  /** The first message, with its pattern before it. */
  begin() {
    return concat([NNPSK0], this.handshake.write());
  }

  /** The other side's message: from now on there are records. */
  agree(message) {
    if (message.length !== MESSAGE_SIZE)
      throw new Refusal(MALFORMED, `a handshake message of ${message.length} bytes, not ${MESSAGE_SIZE}`);
    if (!this.handshake.read(message))
      throw new Refusal(FORGED, "the handshake was changed on its way, or answered by somebody else");
    [this.out, this.in] = this.handshake.split();
    this.ready = true;
  }

  /** Refuses a record by its length, before it is there; frames may have `most` bytes. */
  check(length, most) {
    const size = Math.min(most, RECORD_MAX - TAG_SIZE) + TAG_SIZE;
    if (!length) throw new Refusal(MALFORMED, "a record of length 0");
    if (length > size) throw new Refusal(TOO_LARGE, `a record of ${length} bytes, but ${size} were agreed`);
  }

  /** What a record holds. Null for a plain CLOSE in the place of the first one: of somebody who never had the keys.
      @throws {Refusal} */
  open(sealed) {
    const first = !this.in.count;
    const frames = this.in.decrypt(EMPTY, sealed);
    if (frames?.length) return frames;
    if (first && isClose(sealed)) return null;
    if (sealed.length <= TAG_SIZE) throw new Refusal(MALFORMED, "a record with nothing in it");
    throw new Refusal(FORGED, "a record is not what the other side wrote: somebody changes bytes on the way");
  }

  /** Frames as records of at most `most` bytes each; the first of all frames has a record of its own. */
  seal(frames, most) {
    const records = [];
    const add = (bytes) => {
      const sealed = this.out.encrypt(EMPTY, bytes);
      records.push(Uint8Array.from(varint(sealed.length)), sealed);
    };
    if (!this.out.count) add(frames.shift());
    const rest = join(frames);
    const size = Math.min(most, RECORD_MAX - TAG_SIZE);
    for (let at = 0; at < rest.length; at += size) add(rest.subarray(at, at + size));
    return join(records);
  }
}
