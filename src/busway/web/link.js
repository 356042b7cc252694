/* One link of the Busway protocol (docs/protocol.md, sections 2, 3, 5.3): handshake, frames, keepalive, end.

   Sans-IO. Knows nothing of what messages mean: they go to `dispatch`, which leaf.js has. */

import { Channel } from "./channel.js";
import { concat, join, lenient, Reader, Refusal, utf8, varint } from "./codec.js";
import {
  AliasReader,
  AliasWriter,
  checkVersion,
  decodeHello,
  encodeHandshake,
  encodeHello,
  framed,
  readDirectory,
  readHeader,
  writeHeader,
} from "./frames.js";
import * as codes from "./frames.js";

// prettier-ignore
const {
  ADDRESSING, BAD_STATE, BUS_NAME, CLOSE, CLOSED, CLOSING, CLOSING_MS, DIRECTORY, FORGED, GREETING, HANDSHAKE, HELLO,
  HELLO_TIMEOUT, LIMITS, TOO_LARGE, LOST, MALFORMED, MORE, NOT_BUSWAY, OPEN, PING, PONG, ROUTES, SAME_ROLE,
  SECURING, SELF, SILENT, SLEEP, SLEEP_MAX_MS, SYNC, TOKEN, TOO_MANY, UNKNOWN_FRAME,
} = codes;

const EMPTY = new Uint8Array(0);
const LIVE = (1 << OPEN) | (1 << CLOSING);
// By the head of a control frame: the states in which it may come.
const FRAME_STATES = { [HELLO]: 1 << GREETING, [HANDSHAKE]: 1 << SECURING, [CLOSE]: -1 };
for (const head of [PING, PONG, DIRECTORY, MORE, ROUTES, SYNC, SLEEP]) FRAME_STATES[head] = LIVE;

/** The bytes of one session; leaf.js and what it builds on add `opened`, `synced`, `ended`, `dispatch` and `onRoutes`. */
export class Link {
  /** @param hello our fields of HELLO, see `encodeHello`. @param secret what protects the link, see `Channel`, or null.
      @param now ms. */
  constructor(hello, secret, now) {
    this.mine = hello;
    this.me = hello.node + hello.incarnation;
    this.channel = secret && new Channel(hello.bus, secret);
    this.state = secret ? SECURING : GREETING;
    this.closeCode = -1;
    this.closeText = "";
    this.skipped = 0;
    this.events = [];
    this.output = [framed(secret ? encodeHandshake(this.channel.begin()) : encodeHello(hello))];
    this.frameMax = 512;
    this.outside = new Gathered(); // frames of a plain link, or records
    this.inside = new Gathered(); // frames in records
    this.lastRead = now;
    this.deadline = now + 5000; // for HELLO, for the keepalive, for the peer's CLOSE, by state
    this.suspect = false;
    this.asleep = false; // the router neither reads nor writes: nothing is written
    this.assemblies = new Map();
  }

  get done() {
    return this.state === CLOSED && !this.output.length;
  }

  /** What is to be written now, or null. */
  take() {
    if (this.asleep || !this.output.length) return null;
    const frames = this.output;
    this.output = [];
    return this.channel?.ready ? this.channel.seal(frames, this.frameMax) : join(frames);
  }

  /** Bytes of the stream, cut anywhere. Never throws for what they are. */
  receive(data, now) {
    this.lastRead = now;
    this.suspect = false;
    if (data.length) this.asleep = false;
    if (this.state !== CLOSED) this.guard(() => this.split(data, now, this.outside));
    return this.takeEvents();
  }

  receiveEnd(text, now) {
    if (this.state !== CLOSED)
      this.end(
        this.state === CLOSING ? this.closeCode : LOST,
        this.state === CLOSING ? this.closeText : text,
      );
    return this.takeEvents();
  }

  guard(work) {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.fail(error.code, error.message);
    }
  }

  takeEvents() {
    const events = this.events;
    this.events = [];
    return events;
  }

  /** Take in frames, or the records of a protected link, whose insides are frames again. Each has its length before it. */
  split(came, now, gathered) {
    const data = gathered.take(came);
    let pos = 0;
    while (pos < data.length && this.state !== CLOSED) {
      this.asleep = false; // whatever follows ends the sleep
      let start = pos;
      while (start < data.length && start < pos + 5 && data[start] >= 0x80) start++;
      if (start === data.length && start < pos + 5) return gathered.keep(data.slice(pos), 0);
      const reader = new Reader(data, pos);
      const length = reader.varint();
      const sealed = this.channel?.ready && gathered === this.outside;
      if (sealed) this.channel.check(length, this.frameMax);
      else this.checkFrame(length, data.subarray(reader.pos, reader.pos + length));
      const more = this.state < OPEN ? 0 : length; // a stranger is to be known as early as can be
      if (length > reader.left) return gathered.keep(data.slice(pos), reader.pos - pos + more);
      pos = reader.pos + length;
      if (sealed) this.record(data.subarray(reader.pos, pos), now);
      else this.frame(new Reader(data, reader.pos, pos), now);
    }
  }

  checkFrame(length, start) {
    if (!length) throw new Refusal(MALFORMED, "a frame of length 0");
    if (length > this.frameMax)
      throw new Refusal(TOO_LARGE, `a frame of ${length} bytes, but ${this.frameMax} were agreed`);
    if (this.state < OPEN) checkStranger(start);
  }

  record(sealed, now) {
    const frames = this.channel.open(sealed);
    if (!frames)
      return this.onClose(new Reader(sealed, 1), " (nobody vouches for this: it came unprotected)");
    this.split(frames, now, this.inside);
  }

  frame(reader, now) {
    const head = reader.u8();
    if (head >= 0x80) {
      if (this.state < OPEN) throw new Refusal(BAD_STATE, "a message before the handshake was over");
      return this.message(head, reader, now);
    }
    const states = FRAME_STATES[head];
    if (!states && this.state < OPEN) throw new Refusal(NOT_BUSWAY, "the other side does not speak Busway");
    if (!states && head < 0x40)
      throw new Refusal(UNKNOWN_FRAME, `a frame of kind ${head}, which must be known`);
    if (!states) return void this.skipped++;
    if (this.state < OPEN && head <= HANDSHAKE) this.checkProtection(head, reader);
    if (!(states & (1 << this.state))) throw new Refusal(BAD_STATE, `a frame of kind ${head} out of place`);
    if (head === HELLO) this.onHello(reader, now);
    else if (head === HANDSHAKE) this.onHandshake(reader);
    else if (head === CLOSE) this.onClose(reader);
    else if (head === PING) this.onPing(reader);
    else if (head === MORE) this.onMore(reader, now);
    else if (head === ROUTES) this.onRoutes(reader, now);
    else if (head === DIRECTORY) {
      this.skipped++; // a leaf is sent none
      readDirectory(reader, this.nodes);
    } else if (head === SLEEP) this.onSleep(reader, now);
    else {
      if (head === PONG) reader.varint();
      else if (reader.u8() === 3) this.synced(); // SYNC: a leaf needs no other stage, its router answers each lookup
      reader.finish();
    }
  }

  onSleep(reader, now) {
    const ms = Math.min(reader.varint(), SLEEP_MAX_MS);
    reader.finish();
    this.lastRead = now + ms; // silence counts from then on
    this.asleep = ms > 0;
  }

  /** One side begins with a handshake, the other without. */
  checkProtection(head, reader) {
    const wanted = this.channel && !this.channel.ready;
    if (this.channel ? !wanted || head === HANDSHAKE : head === HELLO) return;
    checkVersion(reader);
    const [mine, theirs] = wanted ? ["a token", "none"] : ["no token", "one"];
    throw new Refusal(TOKEN, `this side has ${mine}, the other ${theirs}: give both the same, or neither`);
  }

  onHandshake(reader) {
    this.channel.agree(reader.rest());
    this.state = GREETING;
    this.say(encodeHello(this.mine));
  }

  onHello(reader, now) {
    const theirs = decodeHello(reader);
    if (theirs.bus !== this.mine.bus) {
      throw new Refusal(BUS_NAME, `this side is on bus "${this.mine.bus}", the other on "${theirs.bus}"`);
    }
    if (theirs.node + theirs.incarnation === this.me)
      throw new Refusal(SELF, "a node was connected to itself");
    if (theirs.dialled === this.mine.dialled)
      throw new Refusal(SAME_ROLE, "both sides say that they dialled, or both that they were dialled");
    const least = { frame_size_max: 128, message_size_max: 1, aliases_max: 1, partials_max: 1 };
    this.limits = {};
    for (const name in least) {
      this.limits[name] = Math.min(this.mine[name], theirs[name]);
      if (this.limits[name] < least[name])
        throw new Refusal(LIMITS, `${name} must be at least ${least[name]}`);
    }
    this.theirs = theirs;
    this.peer = theirs.node + theirs.incarnation;
    this.addressing = !!(this.mine.features & theirs.features & ADDRESSING); // labels, priorities and what goes with them
    this.realm = Math.max(this.mine.realm, theirs.realm);
    this.keepaliveMs = Math.min(this.mine.keepalive_ms || Infinity, theirs.keepalive_ms || Infinity);
    this.frameMax = this.limits.frame_size_max;
    const nodes = this.mine.leaf || theirs.leaf ? Math.max(3, this.limits.aliases_max) : 16384;
    this.aliases = new AliasReader(this.limits.aliases_max);
    this.nodes = new AliasReader(nodes, 20, [this.peer, this.me]);
    this.aliasWriter = new AliasWriter(this.limits.aliases_max);
    this.nodeWriter = new AliasWriter(nodes, [this.me, this.peer]);
    this.open(now);
  }

  open(now) {
    this.state = OPEN;
    this.deadline = now + this.keepaliveMs;
    this.opened();
    this.events.push({ type: "open", node: this.theirs.node, label: this.theirs.label });
  }

  onClose(reader, note = "") {
    const code = reader.varint();
    const text = lenient.decode(reader.rest()) + note;
    if (this.state === CLOSING) return this.end(this.closeCode, this.closeText);
    this.say([CLOSE, ...varint(code)]);
    this.end(code, text);
  }

  /** End the session in order; all that was sent before has been written. */
  close(now, code = 0, text = "") {
    if (this.state === OPEN && !this.asleep) {
      this.sayClose(code, text);
      this.state = CLOSING;
      this.closeCode = code;
      this.closeText = text;
      this.deadline = now + CLOSING_MS;
    } else if (this.state <= OPEN) this.fail(code, text); // nobody waits for a sleeper
    return this.takeEvents();
  }

  fail(code, text) {
    if (this.state !== CLOSING) this.sayClose(code, text);
    this.end(code, text);
  }

  sayClose(code, text) {
    let bytes = utf8.encode(text);
    for (let size = 120; bytes.length > 120; size--)
      bytes = utf8.encode(text.slice(0, size).replace(/[\ud800-\udbff]$/, ""));
    this.say([CLOSE, ...varint(code), ...bytes]);
  }

  /** Into CLOSED: whatever has no outcome yet gets one. */
  end(code, text) {
    this.state = CLOSED;
    this.asleep = false;
    this.closeCode = code;
    this.closeText = text;
    this.deadline = Infinity;
    this.outside = this.inside = new Gathered();
    this.assemblies.clear();
    this.ended();
    this.events.push({ type: "closed", code, text });
  }

  onDeadline(now) {
    if (this.state < OPEN) return this.fail(HELLO_TIMEOUT, "no HELLO within 5 seconds");
    if (this.state === CLOSING) return this.end(this.closeCode, this.closeText);
    const silent = now - this.lastRead;
    if (silent < this.keepaliveMs) this.deadline = this.lastRead + this.keepaliveMs;
    else if (silent >= 3 * this.keepaliveMs && this.suspect)
      this.fail(SILENT, `nothing was heard for ${silent} ms`);
    else {
      // A page in the background may have slept: what has arrived meanwhile is read before the judgement.
      this.suspect = silent >= 3 * this.keepaliveMs;
      this.say([PING, 1]);
      this.deadline = now + (this.suspect ? Math.min(this.keepaliveMs, 1000) : this.keepaliveMs);
    }
  }

  onPing(reader) {
    const token = reader.varint();
    reader.finish();
    if (this.state === OPEN) this.say([PONG, ...varint(token)]);
  }

  say(body) {
    this.output.push(framed(body));
  }

  message(head, reader, now) {
    const header = readHeader(head, reader, this.aliases, this.nodes);
    const payload = Uint8Array.from(reader.rest());
    if (!header.cut) return this.dispatch(header, payload, now);
    const { partial, size } = header.cut;
    if (size > this.limits.message_size_max) {
      throw new Refusal(
        TOO_LARGE,
        `a message of ${size} bytes, but ${this.limits.message_size_max} were agreed`,
      );
    }
    if (partial >= this.limits.partials_max || this.assemblies.has(partial)) {
      throw new Refusal(TOO_MANY, "more large messages at once than were agreed");
    }
    if (payload.length >= size) throw new Refusal(MALFORMED, "a cut message that is none");
    const gathered = new Gathered();
    gathered.keep(payload, size);
    this.assemblies.set(partial, { header, gathered });
  }

  onMore(reader, now) {
    const partial = reader.u8();
    const piece = reader.rest();
    const { header, gathered } = this.assemblies.get(partial) ?? {};
    if (!header) throw new Refusal(TOO_MANY, "a piece of no message under way");
    if (!piece.length || gathered.have + piece.length > gathered.need)
      throw new Refusal(MALFORMED, "a piece that is empty or more than was announced");
    const payload = gathered.take(piece);
    if (!payload.length) return;
    this.assemblies.delete(partial);
    this.dispatch(header, payload, now);
  }

  /** One message: whole, or cut into frames. `destination` may be the neighbour. */
  write(header, payload = new Uint8Array(0)) {
    if (header.destination === this.peer) header = { ...header, destination: undefined };
    const most = this.limits.frame_size_max;
    if (payload.length + 112 <= most)
      return this.say(concat(writeHeader(header, this.aliasWriter, this.nodeWriter), payload));
    const first = writeHeader(
      { ...header, cut: { partial: 0, size: payload.length } },
      this.aliasWriter,
      this.nodeWriter,
    );
    let at = Math.min(most - first.length, payload.length - 1);
    this.say(concat(first, payload.subarray(0, at)));
    for (; at < payload.length; at += most - 2)
      this.say(concat([MORE, 0], payload.subarray(at, at + most - 2)));
  }
}

/** Bytes that come until there are as many as are needed: in one buffer, so that small ones cost no more than large. */
class Gathered {
  constructor() {
    this.keep(EMPTY, 0);
  }

  /** `data` is the beginning of what needs so many bytes; 0: who knows how many. */
  keep(data, need) {
    this.data = data;
    this.have = data.length;
    this.need = need;
  }

  /** All that there is with `more`; nothing if that is too little. */
  take(more) {
    if (!this.have && !this.need) return more;
    const all = this.have + more.length;
    if (all > this.data.length) {
      const larger = new Uint8Array(Math.max(all, Math.min(this.need, 2 * all)));
      larger.set(this.data.subarray(0, this.have));
      this.data = larger;
    }
    this.data.set(more, this.have);
    this.have = all;
    if (all < this.need) return EMPTY;
    const { data } = this;
    this.keep(EMPTY, 0);
    return data.subarray(0, all);
  }
}

/** A first frame that is not all there yet: a stranger is refused now, not when its time is up. */
function checkStranger(start) {
  const head = start[0];
  if (head === undefined || head >= 0x80) return;
  const strange = [...utf8.encode("BSWY")].some(
    (byte, at) => at + 1 < start.length && start[at + 1] !== byte,
  );
  if (!FRAME_STATES[head] || (head === HELLO && strange))
    throw new Refusal(NOT_BUSWAY, "the other side does not speak Busway");
}
