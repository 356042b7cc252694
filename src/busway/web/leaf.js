/* One session of a Busway leaf (docs/protocol.md, version 1): lookups, credit, outcomes, endpoints. Sans-IO.

   Bytes and times (ms, any origin) come in, events and bytes go out; nothing here reads a clock, draws random
   numbers or knows a socket. Every session is an incarnation of its own, so neither side has to remember
   anything of the last one. Ids and uuids are hexadecimal text. */

import { lenient, Refusal, text8, utf8, varint } from "./codec.js";
import { cheapest, encodeChange } from "./frames.js";
import * as codes from "./frames.js";
import { Link } from "./link.js";

// prettier-ignore
const {
  ASKED_MAX, BROADCAST, CANCEL, CLOSED, CONFIRM, CREDIT, END, ERROR, EXPIRED, FLOW_FALLBACK_MS, FORGET_IN_MS,
  FORGET_OUT_MS, GLOBAL, GRAFT, HAVE, HELLO, LOST_AFTER_SENDING, MALFORMED, NO_ENDPOINT, NO_ROUTE, OPEN,
  OPENING_CREDIT, OUTSTANDING_MAX, OVERTAKEN, PART, PART_CREDIT, PART_LOST, PROBE, PROBE_MAX_MS, PROBE_MS,
  PRUNE, PUBLISH, QUEUE_FULL, RAW, REPLY, REQUEST, ROUTES, SEND, SERVING_MAX, SIGNAL, STREAM_PATIENCE_MS,
  SWEEP_MS, SYNC, SYNC_MS, TOO_LARGE, TRACE, TRACED, UNDELIVERABLE, UNICAST, WHO, WINDOW_MAX, WRONG_KIND,
} = codes;

/** One session. Feed it with `receive` and `receiveEnd`, write what `take` gives, call `handleTimer` at
    `nextDeadline`, and close the socket when `done`. Each of these that can make something happen returns a list
    of events: open, message, cancelled, outcome, part, room, undeliverable, taken, closed. */
export class Connection extends Link {
  /** @param hello our fields of HELLO, see `encodeHello`. @param token text, or null. @param now ms. */
  constructor(hello, token, now) {
    super(hello, token, now);
    this.room = () => true; // whether the socket takes more; the runner's
    this.sweepAt = now + SWEEP_MS;
    this.endpoints = new Map(); // uuid -> {kind, name}
    this.version = 0; // of our directory line
    this.told = new Map(); // uuid -> its holders, null until the router has said
    this.outFlows = new Map(); // node + uuid -> flow
    this.inFlows = new Map();
    this.pending = new Map(); // id -> message without an outcome
    this.serving = new Map(); // node + id -> request
    this.published = new Map(); // uuid -> the last number
    this.pruned = new Set();
    this.lastId = 0;
  }

  opened() {
    this.announce(
      [...this.endpoints].map(([endpoint, { kind, name }]) => ({ endpoint, kind, name })),
      this.mine.label,
    );
    this.say([SYNC, 3]);
    for (const [endpoint, { kind }] of this.endpoints) this.watch(endpoint, kind);
  }

  /** A unicast name may be held by another node, too: the router says so. */
  watch(endpoint, kind) {
    const holders = this.told.get(endpoint);
    if (holders) this.yieldName(endpoint, holders);
    else if (kind === UNICAST && !this.told.has(endpoint)) this.ask(endpoint);
  }

  /** Whatever has no outcome yet gets one. */
  ended() {
    for (const item of [...this.pending.values()]) this.lose(item);
    for (const request of [...this.serving.values()]) this.drop(request);
  }

  // Time

  nextDeadline() {
    let next = Math.min(this.deadline, this.sweepAt);
    for (const item of this.pending.values()) next = Math.min(next, item.expires, item.waitUntil ?? Infinity);
    for (const flow of this.outFlows.values())
      if (flow.waiting.length && flow.sent >= flow.limit) next = Math.min(next, flow.probeAt);
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
    for (const request of [...this.serving.values()])
      if (now >= request.expires && !this.readsSlowly(request, now)) this.drop(request);
    if (now >= this.sweepAt) this.sweep(now);
    return this.takeEvents();
  }

  sweep(now) {
    this.sweepAt = now + SWEEP_MS;
    for (const [key, flow] of this.inFlows) if (now - flow.lastUsed >= FORGET_IN_MS) this.inFlows.delete(key);
    for (const [key, flow] of this.outFlows) {
      if (now - flow.lastUsed >= FORGET_OUT_MS && !flow.waiting.length && !this.holds(flow))
        this.outFlows.delete(key);
    }
  }

  // Messages in

  onRoutes(reader, now) {
    while (reader.left) {
      const entry = reader.u8();
      if (entry > 6) throw new Refusal(MALFORMED, `a ROUTES entry of kind ${entry}`);
      const node = entry < 6 ? this.nodes.read(reader) : "";
      if (entry === 1) reader.take(4);
      else if (entry === 3) for (let line = 0; line < 3; line++) reader.varint();
      else if (entry > 3 && reader.u16() && entry === 6)
        throw new Refusal(MALFORMED, "more entries acknowledged than were sent");
      if (entry === 0) this.nodeGone(node, now); // a leaf is told nothing else
    }
  }

  dispatch(header, payload, now) {
    const source = header.source ?? this.peer;
    if (source !== this.peer && this.theirs.leaf)
      throw new Refusal(MALFORMED, "a leaf sent a message of another node");
    const forOther =
      header.destination !== undefined && header.destination !== this.me && header.kind !== PUBLISH;
    if (forOther || source === this.me) return; // a leaf passes nothing on
    if (header.kind <= REQUEST) this.arrive(source, header, payload, now);
    else if (header.kind === REPLY) this.onReply(source, header, payload);
    else if (header.kind === ERROR) this.onError(source, header, lenient.decode(payload), now);
    else if (header.kind === PART) this.onPart(source, header, payload, now);
    else if (header.kind === SIGNAL) this.onSignal(source, header, now);
  }

  onSignal(source, header, now) {
    const { signal, endpoint, number, id } = header;
    const request = this.serving.get(source + id);
    if (signal === CANCEL && !request?.confirm) this.drop(request); // a confirmed send is not called off
    else if (signal === CREDIT) this.onCredit(this.outFlows.get(source + endpoint), number, now);
    else if (signal === PROBE) this.onProbe(source, endpoint, number, now);
    else if (signal === PART_CREDIT) this.onPartCredit(request, number, now);
    else if (signal === END) this.onEnd(source, id, number, now);
    else if (signal === UNDELIVERABLE) this.onUndeliverable(source, header, now);
    else if (signal === WHO) this.onWho(source, endpoint);
    else if (signal === HAVE && source === this.peer) this.onHave(endpoint, header.holders, now);
    else if (signal === PRUNE && source === this.peer && header.node === this.me) this.pruned.add(endpoint);
    else if (signal === GRAFT && source === this.peer && header.node === this.me)
      this.pruned.delete(endpoint);
    else if (signal === TRACE) {
      const report = [this.realm, ...varint(32), ...text8("ws"), ...text8(this.mine.label)];
      this.write({ kind: SIGNAL, signal: TRACED, id, destination: source }, Uint8Array.from(report));
    } else if (signal < CANCEL || signal > TRACED || signal === PRUNE || signal === GRAFT) this.skipped++;
  }

  onWho(source, endpoint) {
    const mine = this.endpoints.get(endpoint);
    this.write(
      { kind: SIGNAL, signal: HAVE, endpoint, destination: source },
      Uint8Array.from(mine ? [mine.kind | (GLOBAL << 2), 1, 0, 0] : []),
    );
  }

  // Messages out

  /** Accept a message: {kind "send", "confirm" or "request", endpoint, payload, format, node "" or id, timeoutMs,
      ttlMs, and for an answer in parts `window`, how many there is room for, and `partMs`, how long to wait for each}.
      Returns its id; exactly one outcome event follows: accepted, taken, replied, ended, failed, undelivered,
      timeout, unknown, cancelled, or unsent where the session ended first. Before it come the parts. */
  submit(
    { kind, endpoint, payload, format, node = "", timeoutMs = Infinity, ttlMs = 0, window = 0, partMs = 0 },
    now,
  ) {
    if (this.pending.size >= OUTSTANDING_MAX)
      throw new RangeError(`${OUTSTANDING_MAX} sends and requests are outstanding: wait for some to end`);
    do this.lastId = (this.lastId % 0x0fffffff) + 1;
    while (this.pending.has(this.lastId));
    const item = {
      id: this.lastId,
      kind: { send: SEND, confirm: CONFIRM, request: REQUEST }[kind],
      endpoint,
      payload,
      format,
      node,
    };
    Object.assign(item, {
      state: "homeless",
      patient: ttlMs > 0,
      expires: now + timeoutMs,
      waitUntil: now + Math.max(ttlMs, SYNC_MS),
      window,
      partMs,
      nextPart: 0,
      consumed: 0,
      toldAt: now,
    });
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
    const lost = item.node || item.bereft;
    if (able[0]?.kind === BROADCAST)
      return this.finish(item, "undelivered", item.bereft ? NO_ROUTE : WRONG_KIND);
    if (!able.length)
      return item.patient ? undefined : this.finish(item, "undelivered", lost ? NO_ROUTE : NO_ENDPOINT);
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
    const cheap = cheapest(holders, node);
    this.turn = (this.turn ?? 0) + 1;
    return cheap.map((_, at) => cheap[(at + this.turn) % cheap.length]);
  }

  outFlow({ node, credit }, endpoint, now) {
    const key = node + endpoint;
    if (!this.outFlows.has(key)) {
      this.outFlows.set(key, {
        node,
        endpoint,
        sent: 0,
        limit: credit,
        opening: credit,
        waiting: [],
        lastUsed: now,
        probeMs: PROBE_MS,
      });
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
    const { flow, kind, endpoint, payload, format, id, window } = item;
    if (payload.length > this.limits.message_size_max) return this.finish(item, "undelivered", TOO_LARGE);
    const number = (flow.sent += 1) & 0xffff;
    flow.lastUsed = now;
    item.state = "sent";
    const timed =
      kind === SEND ? {} : { id, timeoutMs: Math.max(1, Math.min(item.expires - now, 0xffffffff) | 0) };
    this.write({ kind, format, endpoint, number, window, destination: flow.node, ...timed }, payload);
    if (kind === SEND) this.finish(item, "accepted", 0);
  }

  /** The socket has room again, or credit came. */
  resume(now) {
    for (const flow of this.outFlows.values())
      while (flow.waiting.length && this.ready(flow, now)) this.transmit(flow.waiting.shift(), now);
    for (const request of this.serving.values()) this.tellRoom(request);
    return this.takeEvents();
  }

  stalled() {
    return (
      [...this.outFlows.values()].some((flow) => flow.waiting.length && flow.sent < flow.limit) ||
      [...this.serving.values()].some((request) => request.blocked && request.sent < request.limit)
    );
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
    this.write({
      kind: SIGNAL,
      signal: PROBE,
      endpoint: flow.endpoint,
      number: flow.sent & 0xffff,
      destination: flow.node,
    });
  }

  onHave(endpoint, holders, now) {
    const former = this.told.get(endpoint);
    if (former === undefined) return; // nobody asked
    const fresh = holders.filter(
      (holder) => holder.realm >= Math.max(holder.metric >> 14, this.realm) && holder.node !== this.me,
    );
    this.told.set(endpoint, fresh);
    this.yieldName(endpoint, fresh);
    for (const holder of fresh) {
      const flow = this.outFlows.get(holder.node + endpoint);
      if (!flow || (former ?? []).some((other) => other.node === holder.node)) continue;
      flow.opening = holder.credit;
      flow.limit = Math.max(flow.limit, flow.sent + holder.credit);
    }
    for (const flow of this.outFlows.values())
      if (flow.endpoint === endpoint && !this.holds(flow)) this.leave(flow);
    this.resolveAll(endpoint, now);
    for (const flow of this.outFlows.values())
      if (flow.endpoint === endpoint) this.onCredit(flow, flow.limit, now);
  }

  /** A holder is gone: what waits for its credit finds another. */
  leave(flow) {
    flow.limit = Math.min(flow.limit, flow.sent);
    for (const item of flow.waiting.splice(0)) Object.assign(item, { state: "homeless", flow: undefined, bereft: true });
  }

  resolveAll(endpoint, now) {
    for (const item of [...this.pending.values()])
      if (item.endpoint === endpoint && item.state === "homeless") this.resolve(item, now);
  }

  nodeGone(node, now) {
    for (const [endpoint, holders] of this.told) {
      if (holders?.some((holder) => holder.node === node))
        this.told.set(
          endpoint,
          holders.filter((holder) => holder.node !== node),
        );
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
    if (this.pending.delete(item.id))
      this.events.push({ type: "outcome", id: item.id, status, code, text, ...more });
  }

  lose(item) {
    if (item.state !== "sent") this.finish(item, "unsent", NO_ROUTE);
    else if (item.kind === CONFIRM) this.finish(item, "unknown", NO_ROUTE);
    else this.finish(item, "undelivered", LOST_AFTER_SENDING);
  }

  expire(item, now) {
    if (item.nextPart !== item.consumed) {
      item.expires = now + PROBE_MS; // the program has parts to read: the wait is its own
      if (now - item.toldAt >= PROBE_MAX_MS) this.tellWindow(item, now);
      return;
    }
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
    if (item.state === "sent")
      this.write({ kind: SIGNAL, signal: CANCEL, id: item.id, destination: item.flow.node });
  }

  /** What an answer belongs to: late, unknown and forged ones end here. */
  answered(source, id) {
    const item = this.pending.get(id);
    return item?.state === "sent" && item.flow.node === source ? item : undefined;
  }

  /** The same for PART and END: who did not ask for parts is sent none, and still waits. */
  streamed(source, id) {
    const item = this.answered(source, id);
    return item?.window ? item : undefined;
  }

  onReply(source, { id, format }, payload) {
    const item = this.answered(source, id);
    if (item) this.finish(item, item.kind === CONFIRM ? "taken" : "replied", 0, "", { payload, format });
  }

  onError(source, { id, code }, text, now) {
    const item = this.answered(source, id);
    if (!item) return;
    this.finish(item, code < 64 ? "undelivered" : "failed", code, text);
    if (code === NO_ENDPOINT) this.refused(source, item.endpoint, now);
  }

  onUndeliverable(source, { endpoint, number, code }, now) {
    const flow = this.outFlows.get(source + endpoint);
    if (!flow || ((flow.sent - number) & 0xffff) >= flow.sent) return; // never sent
    this.events.push({ type: "undeliverable", endpoint, node: source, seq: number, code });
    if (code === NO_ENDPOINT) this.refused(source, endpoint, now);
  }

  /** A holder has it no longer: what waits finds another, and where there is none the next one asks anew. */
  refused(source, endpoint, now) {
    const holders = this.told.get(endpoint);
    if (!holders) return;
    const left = holders.filter((holder) => holder.node !== source);
    this.told.set(endpoint, left);
    const flow = this.outFlows.get(source + endpoint);
    if (flow) this.leave(flow);
    this.resolveAll(endpoint, now);
    if (!left.length) this.told.delete(endpoint);
  }

  // Answers in parts, that we asked for

  /** A part that is not the next, or beyond the window, ends the stream. */
  onPart(source, { id, number, format }, payload, now) {
    const item = this.streamed(source, id);
    if (!item) return;
    if (number !== (item.nextPart & 0xffff) || item.nextPart - item.consumed >= item.window)
      return this.losePart(item);
    item.nextPart++;
    item.expires = now + item.partMs;
    this.events.push({ type: "part", id, payload, format });
  }

  onEnd(source, id, parts) {
    const item = this.streamed(source, id);
    if (!item) return;
    if (parts !== (item.nextPart & 0xffff)) this.losePart(item);
    else this.finish(item, "ended", 0);
  }

  losePart(item) {
    this.callOff(item);
    this.finish(item, "undelivered", PART_LOST);
  }

  /** The program has taken a part: the other side may send on when half of the window is used. */
  consume(id, now) {
    const item = this.pending.get(id);
    if (!item || item.consumed >= item.nextPart) return;
    item.consumed++;
    if (item.consumed % Math.max(1, item.window >> 1) === 0) this.tellWindow(item, now);
  }

  tellWindow(item, now) {
    item.toldAt = now;
    const number = (item.consumed + item.window) & 0xffff;
    this.write({ kind: SIGNAL, signal: PART_CREDIT, id: item.id, number, destination: item.flow.node });
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
    if (this.state !== OPEN) return;
    this.announce([{ endpoint, kind, name }]);
    this.watch(endpoint, kind);
  }

  /** Of several holders, one of them unicast or of other kinds, the smaller node id keeps the name. */
  yieldName(endpoint, holders) {
    const mine = this.endpoints.get(endpoint);
    const loses = ({ node, kind }) =>
      kind && node.slice(0, 32) < this.mine.node && (kind === UNICAST || kind !== mine.kind || mine.kind === UNICAST);
    if (!mine || !holders.some(loses)) return;
    this.withdraw(endpoint);
    this.events.push({ type: "taken", endpoint });
  }

  withdraw(endpoint) {
    this.endpoints.delete(endpoint);
    for (const [key, flow] of this.inFlows) if (flow.endpoint === endpoint) this.inFlows.delete(key);
    if (this.state === OPEN) this.announce([{ endpoint, kind: 0 }]);
  }

  announce(entries, label) {
    const base = this.version;
    const version = (this.version += entries.length);
    const change = { label, base, version, entries };
    for (const body of encodeChange(change, this.limits.frame_size_max)) this.say(body);
  }

  inFlow(source, endpoint, number, now) {
    const key = source + endpoint;
    const start = number - 1;
    if (!this.inFlows.has(key))
      this.inFlows.set(key, {
        source,
        endpoint,
        received: start,
        busy: 0,
        window: OPENING_CREDIT,
        limit: start + OPENING_CREDIT,
        bridged: 0,
      });
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
    const event = {
      type: "message",
      endpoint,
      source,
      payload,
      format: header.format,
      messageType: header.type,
      missed,
    };
    if (id) {
      if (this.serving.size >= SERVING_MAX) return this.refuse(source, header, QUEUE_FULL);
      event.request = {
        key: source + id,
        id,
        source,
        flow,
        confirm: kind === CONFIRM,
        timeoutMs: header.timeoutMs,
        expires: now + header.timeoutMs,
        window: header.window ?? 0, // above 0: an answer in parts is taken
        sent: 0,
        limit: header.window ?? 0,
        heardAt: now,
        blocked: false, // somebody waits for room
      };
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
    this.write({
      kind: SIGNAL,
      signal: CREDIT,
      endpoint: flow.endpoint,
      number: flow.limit & 0xffff,
      destination: flow.source,
    });
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
    if (payload.length > this.limits.message_size_max)
      return this.reject(request, TOO_LARGE, "the reply exceeds message_size_max");
    if (!this.release(request)) return;
    this.write(
      { kind: REPLY, id: request.id, format: request.confirm ? RAW : format, destination: request.source },
      request.confirm ? undefined : payload,
    );
  }

  reject(request, code, text) {
    if (this.release(request))
      this.write({ kind: ERROR, id: request.id, code, destination: request.source }, utf8.encode(text));
  }

  // Our answers in parts

  /** One part. False if there is no room: a room event follows, or cancelled. */
  respondPart(request, payload, format, now) {
    if (this.serving.get(request.key) !== request) return true; // nobody waits for it
    if (payload.length > this.limits.message_size_max) {
      this.reject(request, TOO_LARGE, "a part of the reply exceeds message_size_max");
      this.events.push({ type: "cancelled", request });
      return true;
    }
    request.blocked = request.sent >= request.limit || !this.room();
    if (request.blocked) return false;
    const number = request.sent++ & 0xffff;
    request.expires = now + request.timeoutMs;
    this.write({ kind: PART, id: request.id, number, format, destination: request.source }, payload);
    return true;
  }

  /** There are no more parts. */
  respondEnd(request) {
    if (!this.release(request)) return;
    const number = request.sent & 0xffff;
    this.write({ kind: SIGNAL, signal: END, id: request.id, number, destination: request.source });
  }

  onPartCredit(request, limit, now) {
    if (!request?.window) return;
    request.heardAt = now;
    const gain = (limit - request.limit) & 0xffff;
    if (!gain || gain >= 0x8000) return;
    request.limit += gain;
    request.expires = now + request.timeoutMs;
    this.tellRoom(request);
  }

  tellRoom(request) {
    if (!request.blocked || request.sent >= request.limit || !this.room()) return;
    request.blocked = false;
    this.events.push({ type: "room", request });
  }

  /** Whether a request whose time is up only waits for its origin to read on; that says now and then that it is there. */
  readsSlowly(request, now) {
    if (!request.blocked || request.sent < request.limit || now - request.heardAt >= STREAM_PATIENCE_MS)
      return false;
    request.expires = now + Math.max(PROBE_MS, request.timeoutMs);
    return true;
  }
}
