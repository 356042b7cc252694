/* One session of a Busway leaf (docs/protocol.md, version 1): handshake, frames, lookups, credit, outcomes. Sans-IO.

   Bytes and times (ms, any origin) come in, events and bytes go out; nothing here reads a clock, draws random
   numbers or knows a socket. Every session is an incarnation of its own, so neither side has anything to remember
   of the last one. Ids and uuids are hexadecimal text. */

import { concat, hmacSha256, lenient, Reader, Refusal, text8, utf8, varint } from "./codec.js";
import {
  AliasReader, AliasWriter, decodeHello, encodeDirectory, encodeHello, framed, readHeader, writeHeader,
} from "./frames.js";
import * as codes from "./frames.js";

const {
  ASKED_MAX, AUTH, AUTHENTICATING, BAD_STATE, BROADCAST, BUS_NAME, CANCEL, CLOSE, CLOSED, CLOSING,
  CLOSING_MS, CONFIRM, CREDIT, DIRECTORY, ERROR, EXPIRED, FLOW_FALLBACK_MS, FORGET_IN_MS, FORGET_OUT_MS,
  GLOBAL, GRAFT, GREETING, HAVE, HELLO, HELLO_TIMEOUT, LIMITS, LINK_TOO_LARGE, LOST, LOST_AFTER_SENDING,
  MALFORMED, MORE, NOT_BUSWAY, NO_ENDPOINT, NO_ROUTE, OPEN, OPENING_CREDIT, OUTSTANDING_MAX, OVERTAKEN, PART,
  PING, PONG, PROBE, PROBE_MAX_MS, PROBE_MS, PRUNE, PUBLISH, QUEUE_FULL, RAW, REPLY, REQUEST, ROUTES, SELF,
  SEND, SERVING_MAX, SIGNAL, SILENT, SWEEP_MS, SYNC, SYNC_MS, TOKEN, TOO_LARGE, TOO_MANY, TRACE, TRACED,
  UNDELIVERABLE, UNICAST, UNKNOWN_FRAME, WHO, WINDOW_MAX, WRONG_KIND,
} = codes;

const FRAME_STATES = [0, 1 << GREETING, 1 << AUTHENTICATING, 31, 12, 12, 12, 12, 12, 12]; // by the head of a control frame

/** One session. Feed it with `receive` and `receiveEnd`, write what `take` gives, call `handleTimer` at `nextDeadline`,
    and close the socket when `done`. Each of these that can make something happen returns a list of events:
    open, message, request, cancelled, outcome, undeliverable, closed. */
export class Connection {
  /** @param hello our fields of HELLO, see `encodeHello`. @param token text, or null. @param now ms. */
  constructor(hello, token, now) {
    this.mine = { ...hello, token_demanded: token !== null };
    this.me = hello.node + hello.incarnation;
    this.key = token === null ? null : utf8.encode(token);
    this.state = GREETING;
    this.closeCode = -1;
    this.closeText = "";
    this.skipped = 0;
    this.room = () => true; // whether the socket takes more; the runner's
    this.endpoints = new Map(); // uuid -> {kind, name}
    this.events = [];
    this.output = [framed(encodeHello(this.mine))];
    this.myHello = this.output[0].subarray(varint(this.output[0].length - 1).length);
    this.frameMax = 512;
    this.rest = new Uint8Array(0);
    this.lastRead = now;
    this.deadline = now + 5000; // for HELLO, for the keepalive, for the peer's CLOSE, by state
    this.sweepAt = now + SWEEP_MS;
    this.suspect = false;
    this.version = 0; // of our directory line
    this.told = new Map(); // uuid -> its holders, null until the router has said
    this.outFlows = new Map(); // node + uuid -> flow
    this.inFlows = new Map();
    this.pending = new Map(); // id -> message without an outcome
    this.serving = new Map(); // node + id -> request
    this.published = new Map(); // uuid -> the last number
    this.pruned = new Set();
    this.assemblies = new Map();
    this.lastId = 0;
  }

  get done() {
    return this.state === CLOSED && !this.output.length;
  }

  /** What is to be written now, or null. */
  take() {
    const data = this.output.length ? concat(...this.output) : null;
    this.output = [];
    return data;
  }

  /** Bytes of the stream, cut anywhere. Never throws for what they are. */
  receive(data, now) {
    this.lastRead = now;
    this.suspect = false;
    if (this.state !== CLOSED) this.guard(() => this.parse(this.rest.length ? concat(this.rest, data) : data, now), now);
    return this.takeEvents();
  }

  receiveEnd(text, now) {
    if (this.state !== CLOSED) this.end(this.state === CLOSING ? this.closeCode : LOST, this.state === CLOSING ? this.closeText : text);
    return this.takeEvents();
  }

  guard(work, now) {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.fail(error.code, error.message, now);
    }
  }

  takeEvents() {
    const events = this.events;
    this.events = [];
    return events;
  }

  parse(data, now) {
    let pos = 0;
    while (pos < data.length) {
      let start = pos;
      while (start < data.length && start < pos + 5 && data[start] >= 0x80) start++;
      if (start === data.length && start < pos + 5) break;
      const reader = new Reader(data, pos);
      const length = reader.varint();
      if (!length) throw new Refusal(MALFORMED, "a frame of length 0");
      if (length > this.frameMax) throw new Refusal(LINK_TOO_LARGE, `a frame of ${length} bytes, but ${this.frameMax} were agreed`);
      if (this.state === GREETING) checkStranger(data.subarray(reader.pos, reader.pos + length));
      if (length > reader.left) break;
      pos = reader.pos + length;
      this.frame(new Reader(data, reader.pos, pos), now);
      if (this.state === CLOSED) return;
    }
    this.rest = data.slice(pos);
  }

  frame(reader, now) {
    const body = reader.data.subarray(reader.pos, reader.end);
    const head = reader.u8();
    if (head >= 0x80) {
      if (this.state !== OPEN && this.state !== CLOSING) throw new Refusal(BAD_STATE, "a message before the handshake was over");
      return this.message(head, reader, now);
    }
    const states = FRAME_STATES[head];
    if (!states && this.state === GREETING) throw new Refusal(NOT_BUSWAY, "the other side does not speak Busway");
    if (!states && head < 0x40) throw new Refusal(UNKNOWN_FRAME, `a frame of kind ${head}, which must be known`);
    if (!states) return void this.skipped++;
    if (!(states & (1 << this.state))) throw new Refusal(BAD_STATE, `a frame of kind ${head} out of place`);
    if (head === HELLO) this.onHello(body, reader, now);
    else if (head === AUTH) this.onAuth(reader, now);
    else if (head === CLOSE) this.onClose(reader);
    else if (head === PING) this.onPing(reader);
    else if (head === MORE) this.onMore(reader, now);
    else if (head === ROUTES) this.onRoutes(reader, now);
    else if (head === DIRECTORY) this.skipped++; // a leaf is sent none
    else {
      if (head === PONG) reader.varint();
      else reader.u8(); // SYNC: a leaf needs no stage, its router answers each lookup
      reader.finish();
    }
  }

  // Handshake and end

  onHello(body, reader, now) {
    const theirs = decodeHello(reader);
    if (theirs.bus !== this.mine.bus) {
      throw new Refusal(BUS_NAME, `this side is on bus "${this.mine.bus}", the other on "${theirs.bus}"`);
    }
    if (theirs.node + theirs.incarnation === this.me) throw new Refusal(SELF, "a node was connected to itself");
    const least = { frame_size_max: 128, message_size_max: 1, aliases_max: 1, partials_max: 1 };
    this.limits = {};
    for (const name in least) {
      this.limits[name] = Math.min(this.mine[name], theirs[name]);
      if (this.limits[name] < least[name]) throw new Refusal(LIMITS, `${name} must be at least ${least[name]}`);
    }
    this.theirs = theirs;
    this.peer = theirs.node + theirs.incarnation;
    this.realm = Math.max(this.mine.realm, theirs.realm);
    this.keepaliveMs = Math.min(this.mine.keepalive_ms || Infinity, theirs.keepalive_ms || Infinity);
    this.frameMax = this.limits.frame_size_max;
    const nodes = this.mine.leaf || theirs.leaf ? Math.max(3, this.limits.aliases_max) : 16384;
    this.aliases = new AliasReader(this.limits.aliases_max);
    this.nodes = new AliasReader(nodes, 20, [this.peer, this.me]);
    this.aliasWriter = new AliasWriter(this.limits.aliases_max);
    this.nodeWriter = new AliasWriter(nodes, [this.me, this.peer]);
    if (!this.mine.token_demanded && !theirs.token_demanded) return this.open(now);
    if (this.key === null) throw new Refusal(TOKEN, "the other side demands a token and this side was given none");
    this.state = AUTHENTICATING;
    this.theirHello = Uint8Array.from(body);
    this.say(concat([AUTH], this.proof(this.myHello, this.theirHello)));
  }

  proof(prover, verifier) {
    return hmacSha256(this.key, concat(utf8.encode("busway-auth-1"), prover, verifier));
  }

  onAuth(reader, now) {
    const proof = reader.take(32);
    reader.finish();
    const wanted = this.proof(this.theirHello, this.myHello);
    if (proof.reduce((difference, byte, at) => difference | (byte ^ wanted[at]), 0)) {
      throw new Refusal(TOKEN, "the token is wrong: give both sides the same");
    }
    this.open(now);
  }

  open(now) {
    this.state = OPEN;
    this.deadline = now + this.keepaliveMs;
    this.announce([...this.endpoints].map(([endpoint, { kind, name }]) => ({ endpoint, kind, name })), this.mine.label);
    this.say([SYNC, 3]);
    this.events.push({ type: "open", node: this.theirs.node, label: this.theirs.label });
  }

  onClose(reader) {
    const code = reader.varint();
    const text = lenient.decode(reader.rest());
    if (this.state === CLOSING) return this.end(this.closeCode, this.closeText);
    this.say([CLOSE, ...varint(code)]);
    this.end(code, text);
  }

  /** End the session in order; all that was sent before has been written. */
  close(now, code = 0, text = "") {
    if (this.state === OPEN) {
      this.sayClose(code, text);
      this.state = CLOSING;
      this.closeCode = code;
      this.closeText = text;
      this.deadline = now + CLOSING_MS;
    } else if (this.state < OPEN) this.fail(code, text, now);
    return this.takeEvents();
  }

  fail(code, text) {
    if (this.state !== CLOSING) this.sayClose(code, text);
    this.end(code, text);
  }

  sayClose(code, text) {
    let bytes = utf8.encode(text);
    for (let size = 120; bytes.length > 120; size--) bytes = utf8.encode(text.slice(0, size).replace(/[\ud800-\udbff]$/, ""));
    this.say([CLOSE, ...varint(code), ...bytes]);
  }

  /** Into CLOSED: whatever has no outcome yet gets one. */
  end(code, text) {
    this.state = CLOSED;
    this.closeCode = code;
    this.closeText = text;
    this.deadline = Infinity;
    this.rest = new Uint8Array(0);
    for (const item of [...this.pending.values()]) this.lose(item);
    for (const request of [...this.serving.values()]) this.drop(request);
    this.events.push({ type: "closed", code, text });
  }

  // Time

  nextDeadline() {
    let next = Math.min(this.deadline, this.sweepAt);
    for (const item of this.pending.values()) next = Math.min(next, item.expires, item.waitUntil ?? Infinity);
    for (const flow of this.outFlows.values()) if (flow.waiting.length && flow.sent >= flow.limit) next = Math.min(next, flow.probeAt);
    for (const request of this.serving.values()) next = Math.min(next, request.expires);
    return this.state === CLOSED ? Infinity : next;
  }

  handleTimer(now) {
    if (this.state === CLOSED) return this.takeEvents();
    if (now >= this.deadline) this.onDeadline(now);
    for (const item of [...this.pending.values()]) {
      if (now >= item.expires) this.expire(item, now);
      else if (now >= (item.waitUntil ?? Infinity)) this.finish(item, "undelivered", NO_ENDPOINT);
    }
    for (const flow of this.outFlows.values()) {
      if (flow.waiting.length && flow.sent >= flow.limit && now >= flow.probeAt) this.probe(flow, now);
    }
    for (const request of [...this.serving.values()]) if (now >= request.expires) this.drop(request);
    if (now >= this.sweepAt) this.sweep(now);
    return this.takeEvents();
  }

  onDeadline(now) {
    if (this.state < OPEN) return this.fail(HELLO_TIMEOUT, "no HELLO within 5 seconds");
    if (this.state === CLOSING) return this.end(this.closeCode, this.closeText);
    const silent = now - this.lastRead;
    if (silent < this.keepaliveMs) this.deadline = this.lastRead + this.keepaliveMs;
    else if (silent >= 3 * this.keepaliveMs && this.suspect) this.fail(SILENT, `nothing was heard for ${silent} ms`);
    else {
      // A page in the background may have slept: what has arrived meanwhile is read before the judgement.
      this.suspect = silent >= 3 * this.keepaliveMs;
      this.say([PING, 1]);
      this.deadline = now + (this.suspect ? Math.min(this.keepaliveMs, 1000) : this.keepaliveMs);
    }
  }

  sweep(now) {
    this.sweepAt = now + SWEEP_MS;
    for (const [key, flow] of this.inFlows) if (now - flow.lastUsed >= FORGET_IN_MS) this.inFlows.delete(key);
    for (const [key, flow] of this.outFlows) {
      if (now - flow.lastUsed >= FORGET_OUT_MS && !flow.waiting.length && !this.holds(flow)) this.outFlows.delete(key);
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

  // Messages in

  message(head, reader, now) {
    const header = readHeader(head, reader, this.aliases, this.nodes);
    const payload = Uint8Array.from(reader.rest());
    if (!header.cut) return this.dispatch(header, payload, now);
    const { partial, size } = header.cut;
    if (size > this.limits.message_size_max) {
      throw new Refusal(LINK_TOO_LARGE, `a message of ${size} bytes, but ${this.limits.message_size_max} were agreed`);
    }
    if (partial >= this.limits.partials_max || this.assemblies.has(partial)) {
      throw new Refusal(TOO_MANY, "more large messages at once than were agreed");
    }
    if (payload.length >= size) throw new Refusal(MALFORMED, "a cut message that is none");
    this.assemblies.set(partial, { header, pieces: [payload], missing: size - payload.length });
  }

  onMore(reader, now) {
    const partial = reader.u8();
    const piece = Uint8Array.from(reader.rest());
    const assembly = this.assemblies.get(partial);
    if (!assembly) throw new Refusal(TOO_MANY, "a piece of no message under way");
    if (!piece.length || piece.length > assembly.missing) throw new Refusal(MALFORMED, "a piece that is empty or more than was announced");
    assembly.pieces.push(piece);
    assembly.missing -= piece.length;
    if (assembly.missing) return;
    this.assemblies.delete(partial);
    this.dispatch(assembly.header, concat(...assembly.pieces), now);
  }

  onRoutes(reader, now) {
    while (reader.left) {
      const entry = reader.u8();
      if (entry > 6) throw new Refusal(MALFORMED, `a ROUTES entry of kind ${entry}`);
      const node = entry < 6 ? this.nodes.read(reader) : "";
      if (entry === 1) reader.take(4);
      else if (entry === 3) for (let line = 0; line < 3; line++) reader.varint();
      else if (entry > 3 && reader.u16() && entry === 6) throw new Refusal(MALFORMED, "more entries acknowledged than were sent");
      if (entry === 0) this.nodeGone(node, now); // a leaf is told nothing else
    }
  }

  dispatch(header, payload, now) {
    const source = header.source ?? this.peer;
    if (source !== this.peer && this.theirs.leaf) throw new Refusal(MALFORMED, "a leaf sent a message of another node");
    const forOther = header.destination !== undefined && header.destination !== this.me && header.kind !== PUBLISH;
    if (forOther || source === this.me) return; // a leaf passes nothing on
    if (header.kind <= REQUEST) this.arrive(source, header, payload, now);
    else if (header.kind === REPLY) this.onReply(source, header, payload);
    else if (header.kind === ERROR) this.onError(source, header.id, header.code, lenient.decode(payload));
    else if (header.kind === SIGNAL) this.onSignal(source, header, now); // PART: no stream was asked for
  }

  onSignal(source, header, now) {
    const { signal, endpoint, number, id } = header;
    if (signal === CANCEL) this.drop(this.serving.get(source + id));
    else if (signal === CREDIT) this.onCredit(this.outFlows.get(source + endpoint), number, now);
    else if (signal === PROBE) this.onProbe(source, endpoint, number, now);
    else if (signal === UNDELIVERABLE) this.events.push({ type: "undeliverable", endpoint, node: source, seq: number, code: header.code });
    else if (signal === WHO) this.onWho(source, endpoint);
    else if (signal === HAVE && source === this.peer) this.onHave(endpoint, header.holders, now);
    else if (signal === PRUNE && source === this.peer && header.node === this.me) this.pruned.add(endpoint);
    else if (signal === GRAFT && source === this.peer && header.node === this.me) this.pruned.delete(endpoint);
    else if (signal === TRACE) {
      const report = [this.realm, ...varint(32), ...text8("ws"), ...text8(this.mine.label)];
      this.write({ kind: SIGNAL, signal: TRACED, id, destination: source }, Uint8Array.from(report));
    } else if (signal < CANCEL || signal > TRACED || signal === PRUNE || signal === GRAFT) this.skipped++;
  }

  onWho(source, endpoint) {
    const mine = this.endpoints.get(endpoint);
    this.write({ kind: SIGNAL, signal: HAVE, endpoint, destination: source }, Uint8Array.from(mine ? [mine.kind | (GLOBAL << 2), 1, 0, 0] : []));
  }

  // Messages out

  /** One message: whole, or cut into frames. `destination` may be the neighbour. */
  write(header, payload = new Uint8Array(0)) {
    if (header.destination === this.peer) header = { ...header, destination: undefined };
    const most = this.limits.frame_size_max;
    if (payload.length + 112 <= most) return this.say(concat(writeHeader(header, this.aliasWriter, this.nodeWriter), payload));
    const first = writeHeader({ ...header, cut: { partial: 0, size: payload.length } }, this.aliasWriter, this.nodeWriter);
    let at = Math.min(most - first.length, payload.length - 1);
    this.say(concat(first, payload.subarray(0, at)));
    for (; at < payload.length; at += most - 2) this.say(concat([MORE, 0], payload.subarray(at, at + most - 2)));
  }

  /** Accept a message: {kind "send", "confirm" or "request", endpoint, payload, format, node "" or id, timeoutMs, ttlMs}.
      Returns its id; exactly one outcome event follows: accepted, taken, replied, failed, undelivered, timeout, unknown,
      cancelled, or unsent where the session ended first. */
  submit({ kind, endpoint, payload, format, node = "", timeoutMs = Infinity, ttlMs = 0 }, now) {
    if (this.pending.size >= OUTSTANDING_MAX) throw new RangeError(`${OUTSTANDING_MAX} sends and requests are outstanding: wait for some to end`);
    do this.lastId = (this.lastId % 0x0fffffff) + 1;
    while (this.pending.has(this.lastId));
    const item = { id: this.lastId, kind: { send: SEND, confirm: CONFIRM, request: REQUEST }[kind], endpoint, payload, format, node };
    Object.assign(item, { state: "homeless", patient: ttlMs > 0, expires: now + timeoutMs, waitUntil: now + Math.max(ttlMs, SYNC_MS) });
    this.pending.set(item.id, item);
    if (this.state === OPEN) this.resolve(item, now);
    else this.finish(item, "unsent", NO_ROUTE);
    return item.id;
  }

  resolve(item, now) {
    const holders = this.told.get(item.endpoint);
    if (holders === undefined) return this.ask(item.endpoint);
    if (holders === null) return;
    const able = this.choose(holders, item.node);
    if (able[0]?.kind === BROADCAST) return this.finish(item, "undelivered", WRONG_KIND);
    if (!able.length) return item.patient ? undefined : this.finish(item, "undelivered", item.node ? NO_ROUTE : NO_ENDPOINT);
    const flows = able.map((holder) => this.outFlow(holder, item.endpoint, now));
    item.waitUntil = undefined;
    this.go(item, flows.find((flow) => !flow.waiting.length && this.ready(flow, now)) ?? flows[0], now);
  }

  ask(endpoint) {
    if (this.told.size >= ASKED_MAX) {
      for (const [old, holders] of this.told) {
        if (holders === null) continue;
        this.told.delete(old); // its router forgets that it was asked, too
        break;
      }
    }
    this.told.set(endpoint, null);
    this.write({ kind: SIGNAL, signal: WHO, endpoint });
  }

  /** The holders that count, by the rule for conflicts, and of them the cheapest, in turn. */
  choose(holders, node) {
    const real = holders.filter((holder) => holder.kind && holder.node.startsWith(node));
    real.sort((one, other) => (one.node < other.node ? -1 : 1));
    const able = real[0]?.kind === UNICAST ? [real[0]] : real.filter((holder) => holder.kind === real[0].kind);
    const price = ({ metric, cost }) => (metric >> 14) * 2 ** 20 + (metric & 0x3fff) + cost;
    const least = Math.min(...able.map(price));
    const cheap = able.filter((holder) => price(holder) === least);
    this.turn = (this.turn ?? 0) + 1;
    return cheap.map((_, at) => cheap[(at + this.turn) % cheap.length]);
  }

  outFlow({ node, credit }, endpoint, now) {
    const key = node + endpoint;
    if (!this.outFlows.has(key)) {
      this.outFlows.set(key, { node, endpoint, sent: 0, limit: credit, opening: credit, waiting: [], lastUsed: now, probeMs: PROBE_MS });
    }
    return this.outFlows.get(key);
  }

  holds(flow) {
    return (this.told.get(flow.endpoint) ?? []).some((holder) => holder.node === flow.node);
  }

  ready(flow, now) {
    if (now - flow.lastUsed >= FLOW_FALLBACK_MS && flow.limit > flow.sent + flow.opening) {
      flow.limit = flow.sent + flow.opening;
      flow.probeMs = 1; // the destination may have the higher one in mind: it is asked at once
    }
    return flow.sent < flow.limit && this.room();
  }

  go(item, flow, now) {
    item.flow = flow;
    if (!flow.waiting.length && this.ready(flow, now)) return this.transmit(item, now);
    item.state = "waiting";
    if (!flow.waiting.length) flow.probeAt = now + flow.probeMs;
    flow.waiting.push(item);
  }

  transmit(item, now) {
    const { flow, kind, endpoint, payload, format, id } = item;
    if (payload.length > this.limits.message_size_max) return this.finish(item, "undelivered", TOO_LARGE);
    const number = (flow.sent += 1) & 0xffff;
    flow.lastUsed = now;
    item.state = "sent";
    const timed = kind === SEND ? {} : { id, timeoutMs: Math.max(1, Math.min(item.expires - now, 0xffffffff) | 0) };
    this.write({ kind, format, endpoint, number, destination: flow.node, ...timed }, payload);
    if (kind === SEND) this.finish(item, "accepted", 0);
  }

  /** The socket has room again, or credit came. */
  resume(now) {
    for (const flow of this.outFlows.values()) while (flow.waiting.length && this.ready(flow, now)) this.transmit(flow.waiting.shift(), now);
    return this.takeEvents();
  }

  stalled() {
    return [...this.outFlows.values()].some((flow) => flow.waiting.length && flow.sent < flow.limit);
  }

  onCredit(flow, limit, now) {
    const gain = flow ? (limit - flow.limit) & 0xffff : 0;
    if (!gain || gain >= 0x8000) return;
    flow.limit += gain;
    flow.probeMs = PROBE_MS;
    while (flow.waiting.length && this.ready(flow, now)) this.transmit(flow.waiting.shift(), now);
    flow.probeAt = now + flow.probeMs;
  }

  probe(flow, now) {
    flow.probeMs = Math.max(PROBE_MS, Math.min(flow.probeMs * 2, PROBE_MAX_MS));
    flow.probeAt = now + flow.probeMs;
    this.write({ kind: SIGNAL, signal: PROBE, endpoint: flow.endpoint, number: flow.sent & 0xffff, destination: flow.node });
  }

  onHave(endpoint, holders, now) {
    const former = this.told.get(endpoint);
    if (former === undefined) return; // nobody asked
    const fresh = holders.filter((holder) => holder.realm >= Math.max(holder.metric >> 14, this.realm) && holder.node !== this.me);
    this.told.set(endpoint, fresh);
    for (const holder of fresh) {
      const flow = this.outFlows.get(holder.node + endpoint);
      if (!flow || (former ?? []).some((other) => other.node === holder.node)) continue;
      flow.opening = holder.credit;
      flow.limit = Math.max(flow.limit, flow.sent + holder.credit);
    }
    for (const flow of this.outFlows.values()) if (flow.endpoint === endpoint && !this.holds(flow)) this.leave(flow);
    this.resolveAll(endpoint, now);
    for (const flow of this.outFlows.values()) if (flow.endpoint === endpoint) this.onCredit(flow, flow.limit, now);
  }

  /** A holder is gone: what waits for its credit finds another. */
  leave(flow) {
    flow.limit = Math.min(flow.limit, flow.sent);
    for (const item of flow.waiting.splice(0)) Object.assign(item, { state: "homeless", flow: undefined });
  }

  resolveAll(endpoint, now) {
    for (const item of [...this.pending.values()]) if (item.endpoint === endpoint && item.state === "homeless") this.resolve(item, now);
  }

  nodeGone(node, now) {
    for (const [endpoint, holders] of this.told) {
      if (holders?.some((holder) => holder.node === node)) this.told.set(endpoint, holders.filter((holder) => holder.node !== node));
    }
    for (const flow of this.outFlows.values()) {
      if (flow.node !== node) continue;
      this.leave(flow);
      for (const item of [...this.pending.values()]) if (item.flow === flow) this.lose(item);
      this.resolveAll(flow.endpoint, now);
    }
    for (const request of [...this.serving.values()]) if (request.source === node) this.drop(request);
  }

  // Outcomes

  finish(item, status, code, text = "", more = {}) {
    const waiting = item.flow?.waiting ?? [];
    if (waiting.includes(item)) waiting.splice(waiting.indexOf(item), 1);
    if (this.pending.delete(item.id)) this.events.push({ type: "outcome", id: item.id, status, code, text, ...more });
  }

  lose(item) {
    if (item.state !== "sent") this.finish(item, "unsent", NO_ROUTE);
    else this.finish(item, item.kind === CONFIRM ? "unknown" : "undelivered", LOST_AFTER_SENDING);
  }

  expire(item) {
    if (item.kind === REQUEST) this.callOff(item);
    const unknown = item.kind === CONFIRM && item.state === "sent";
    this.finish(item, item.kind === REQUEST ? "timeout" : unknown ? "unknown" : "undelivered", EXPIRED);
  }

  /** The caller no longer wants it. */
  cancel(id) {
    const item = this.pending.get(id);
    if (item?.kind === REQUEST) this.callOff(item);
    if (item) this.finish(item, "cancelled", 0);
    return this.takeEvents();
  }

  callOff(item) {
    if (item.state === "sent") this.write({ kind: SIGNAL, signal: CANCEL, id: item.id, destination: item.flow.node });
  }

  /** What an answer belongs to: late, unknown and forged ones end here. */
  answered(source, id) {
    const item = this.pending.get(id);
    return item?.state === "sent" && item.flow.node === source ? item : undefined;
  }

  onReply(source, { id, format }, payload) {
    const item = this.answered(source, id);
    if (item) this.finish(item, item.kind === CONFIRM ? "taken" : "replied", 0, "", { payload, format });
  }

  onError(source, id, code, text) {
    const item = this.answered(source, id);
    if (!item) return;
    if (code === NO_ENDPOINT) this.told.delete(item.endpoint); // what was known is wrong: the next one asks anew
    this.finish(item, code < 64 ? "undelivered" : "failed", code, text);
  }

  /** To all subscribers. False if it was dropped, because there is no session or the socket is full. */
  publish(endpoint, payload, format) {
    const number = (this.published.get(endpoint) ?? 0) + 1;
    if (this.state !== OPEN) return false;
    this.published.set(endpoint, number);
    if (this.pruned.has(endpoint)) return true; // nobody listens
    if (!this.room() || payload.length > this.limits.message_size_max) return false;
    this.write({ kind: PUBLISH, format, endpoint, number: number & 0xffff }, payload);
    return true;
  }

  // Our endpoints

  /** `kind` 1 to 3. Announced at once, or when the session opens. */
  register(endpoint, kind, name) {
    this.endpoints.set(endpoint, { kind, name });
    if (this.state === OPEN) this.announce([{ endpoint, kind, name }]);
  }

  withdraw(endpoint) {
    this.endpoints.delete(endpoint);
    for (const [key, flow] of this.inFlows) if (flow.endpoint === endpoint) this.inFlows.delete(key);
    if (this.state === OPEN) this.announce([{ endpoint, kind: 0 }]);
  }

  announce(entries, label) {
    const base = this.version;
    const version = (this.version += entries.length);
    const step = Math.max(1, Math.floor((this.limits.frame_size_max - 90) / 92)); // of the longest entries
    for (let at = 0; at < entries.length || at === 0; at += step) {
      const more = at + step < entries.length;
      this.say(encodeDirectory({ label: at ? undefined : label, more, base, version, entries: entries.slice(at, at + step) }));
    }
  }

  inFlow(source, endpoint, number, now) {
    const key = source + endpoint;
    const start = number - 1;
    if (!this.inFlows.has(key)) this.inFlows.set(key, { source, endpoint, received: start, busy: 0, window: OPENING_CREDIT, limit: start + OPENING_CREDIT, bridged: 0 });
    const flow = this.inFlows.get(key);
    flow.lastUsed = now;
    return flow;
  }

  arrive(source, header, payload, now) {
    const { kind, endpoint, number, id } = header;
    const mine = this.endpoints.get(endpoint);
    if (!mine) return this.refuse(source, header, NO_ENDPOINT);
    if ((kind === PUBLISH) !== (mine.kind === BROADCAST)) return this.refuse(source, header, WRONG_KIND);
    const flow = this.inFlow(source, endpoint, number, now);
    const gap = (number - flow.received) & 0xffff;
    if (!gap || gap >= 0x8000) return this.refuse(source, header, OVERTAKEN);
    flow.received += gap;
    const missed = gap - 1 + flow.bridged;
    flow.bridged = 0;
    const event = { type: "message", endpoint, source, payload, format: header.format, messageType: header.type, missed };
    if (id) {
      if (this.serving.size >= SERVING_MAX) return this.refuse(source, header, QUEUE_FULL);
      event.request = { key: source + id, id, source, flow, confirm: kind === CONFIRM, expires: now + header.timeoutMs };
      this.drop(this.serving.get(event.request.key)); // an id used again: its origin has given the former one up
      this.serving.set(event.request.key, event.request);
      flow.busy++;
    }
    this.events.push(event);
    if (kind !== PUBLISH) this.grant(flow);
  }

  refuse(source, { kind, endpoint, number, id }, code) {
    if (kind === PUBLISH) return;
    if (id) this.write({ kind: ERROR, id, code, destination: source });
    else this.write({ kind: SIGNAL, signal: UNDELIVERABLE, endpoint, number, code, destination: source });
  }

  /** CREDIT as the program takes: the window doubles as it is used. */
  grant(flow, always = false) {
    const taken = flow.received - flow.busy;
    if (!always && flow.limit - taken > flow.window / 2) return;
    if (!always) flow.window = Math.min(WINDOW_MAX, flow.window * 2);
    flow.limit = Math.max(flow.limit, taken + flow.window);
    this.write({ kind: SIGNAL, signal: CREDIT, endpoint: flow.endpoint, number: flow.limit & 0xffff, destination: flow.source });
  }

  onProbe(source, endpoint, sent, now) {
    const mine = this.endpoints.get(endpoint);
    if (!mine) return;
    const flow = this.inFlow(source, endpoint, sent + 1, now);
    const gap = (sent - flow.received) & 0xffff;
    if (gap < 0x8000 || mine.kind === BROADCAST) {
      flow.received += gap;
      flow.bridged += gap;
    }
    if (mine.kind !== BROADCAST) this.grant(flow, true);
  }

  release(request) {
    if (!request || !this.serving.delete(request.key)) return false;
    request.flow.busy--;
    if (this.state === OPEN && this.endpoints.has(request.flow.endpoint)) this.grant(request.flow);
    return true;
  }

  drop(request) {
    if (this.release(request)) this.events.push({ type: "cancelled", request });
  }

  /** The answer to a request; for a confirmed send the verdict "taken". Late ones are ignored. */
  respond(request, payload, format) {
    if (payload.length > this.limits.message_size_max) return this.reject(request, TOO_LARGE, "the reply exceeds message_size_max");
    if (!this.release(request)) return;
    this.write({ kind: REPLY, id: request.id, format: request.confirm ? RAW : format, destination: request.source }, request.confirm ? undefined : payload);
  }

  reject(request, code, text) {
    if (this.release(request)) this.write({ kind: ERROR, id: request.id, code, destination: request.source }, utf8.encode(text));
  }
}

/** A first frame that is not all there yet: a stranger is refused now, not when its time is up. */
function checkStranger(start) {
  const head = start[0];
  if (head === undefined || head >= 0x80) return;
  const strange = [...utf8.encode("BSWY")].some((byte, at) => at + 1 < start.length && start[at + 1] !== byte);
  if (!FRAME_STATES[head] || (head === HELLO && strange)) throw new Refusal(NOT_BUSWAY, "the other side does not speak Busway");
}
