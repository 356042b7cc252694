/* What a leaf sends: whom each message goes to, credit, and what becomes of it.

   Sans-IO. Knows nothing of our own endpoints: receiving.js, which builds on this, has them. */

import { Crowd } from "./crowd.js";
import { addressOf, cheapest } from "./frames.js";
import * as codes from "./frames.js";
import { Link } from "./link.js";

// prettier-ignore
const {
  ASKED_MAX, BROADCAST, CANCEL, CONFIRM, EXPIRED, FLOW_FALLBACK_MS, FLOW_FORGET_OUT_MS, LOCALNET, LOST_AFTER_SENDING,
  NORMAL, NO_ENDPOINT, NO_PRIORITIES, NO_ROUTE, OPEN, OUTSTANDING_MAX, PART_CREDIT, PART_LOST, PROBE, PROBE_MAX_MS, PROBE_MS, PUBLISH,
  REQUEST, SEND, SIGNAL, SYNC_MS, MESSAGE_TOO_LARGE, WHO, WRONG_KIND,
} = codes;

const ANSWERED = ["taken", "replied", "ended", "failed"];

/** The sender's side of one session. */
export class Origin extends Link {
  constructor(hello, secret, now) {
    super(hello, secret, now);
    this.room = () => true; // whether the socket takes more; the runner's
    this.draw = () => this.lastId + 1; // a number that nobody else can guess; the runner's
    this.told = new Map(); // uuid -> its holders, null until the router has said
    this.outFlows = new Map(); // node + address -> flow
    this.crowds = new Map(); // address with several equally cheap holders -> crowd
    this.freed = new Set(); // crowds of which somebody may have become free
    this.pending = new Map(); // id -> message without an outcome
    this.published = new Map(); // address -> the last number
    this.pruned = new Set();
    this.lastId = 0;
  }

  /** Whatever has no outcome yet gets one. */
  ended() {
    for (const item of [...this.pending.values()]) this.lose(item);
  }

  nextDeadline() {
    let next = this.deadline;
    for (const item of this.pending.values()) next = Math.min(next, item.expires, item.waitUntil ?? Infinity);
    for (const flow of this.outFlows.values()) if (this.starves(flow)) next = Math.min(next, flow.probeAt);
    for (const crowd of this.crowds.values()) next = Math.min(next, crowd.deadline);
    return next;
  }

  /** Do what is due. */
  due(now) {
    for (const item of [...this.pending.values()]) {
      if (now >= item.expires) this.expire(item, now);
      else if (now >= (item.waitUntil ?? Infinity)) this.finish(item, "undelivered", NO_ENDPOINT);
    }
    for (const flow of this.outFlows.values())
      if (this.starves(flow) && now >= flow.probeAt) this.probe(flow, now);
    for (const crowd of this.crowds.values()) if (now >= crowd.deadline) this.freed.add(crowd);
    this.settle(now);
  }

  /** Let go what waits for whoever has become free. */
  settle(now) {
    for (const crowd of this.freed) {
      this.freed.delete(crowd);
      crowd.pump(now);
    }
  }

  sweep(now) {
    for (const [key, flow] of this.outFlows) {
      if (now - flow.lastUsed >= FLOW_FORGET_OUT_MS && !flow.waiting.length && !this.holds(flow))
        this.outFlows.delete(key);
    }
    for (const [address, crowd] of this.crowds)
      if (!crowd.waiting.size && !this.told.has(crowd.endpoint)) this.crowds.delete(address);
  }

  // Messages out

  /** Accept a message: {kind "send", "confirm" or "request", endpoint, payload, format, node "" or id, timeoutMs,
      ttlMs, lane, and for an answer in parts `window`, how many there is room for, and `partMs`, how long to wait for
      each}.
      Returns its id; exactly one outcome event follows: accepted, taken, replied, ended, failed, undelivered,
      timeout, unknown, cancelled, or unsent where the session ended first. Before it come the parts. */
  submit(
    {
      kind,
      endpoint,
      payload,
      format,
      node = "",
      timeoutMs = Infinity,
      ttlMs = 0,
      lane = NORMAL,
      window = 0,
      partMs = 0,
    },
    now,
  ) {
    if (this.pending.size >= OUTSTANDING_MAX)
      throw new RangeError(`${OUTSTANDING_MAX} sends and requests are outstanding: wait for some to end`);
    this.lastId = this.draw() & 0x0fffffff;
    while (!this.lastId || this.pending.has(this.lastId)) this.lastId = (this.lastId % 0x0fffffff) + 1;
    const item = {
      id: this.lastId,
      kind: { send: SEND, confirm: CONFIRM, request: REQUEST }[kind],
      endpoint,
      address: addressOf(endpoint, lane),
      lane,
      payload,
      format,
      node,
    };
    Object.assign(item, {
      state: "unresolved",
      hasTtl: ttlMs > 0,
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
    if (item.lane !== NORMAL && !this.addressing) return this.finish(item, "undelivered", NO_PRIORITIES);
    const holders = this.told.get(item.endpoint);
    if (holders === undefined) return this.ask(item.endpoint);
    if (holders === null) return;
    const able = cheapest(holders, item.node);
    const lost = item.node || item.bereft;
    if (able[0]?.kind === BROADCAST)
      return this.finish(item, "undelivered", item.bereft ? NO_ROUTE : WRONG_KIND);
    if (!able.length)
      return item.hasTtl ? undefined : this.finish(item, "undelivered", lost ? NO_ROUTE : NO_ENDPOINT);
    const flows = able.map((holder) => this.outFlow(holder, item, now));
    item.waitUntil = undefined;
    if (flows.length > 1) this.crowd(item, flows).put(item, now);
    else this.go(item, flows[0], now);
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

  crowd({ endpoint, address }, flows) {
    if (!this.crowds.has(address)) this.crowds.set(address, new Crowd(this, endpoint));
    const crowd = this.crowds.get(address);
    const same = flows.length === crowd.flows.length && flows.every((flow) => crowd.flows.includes(flow));
    if (!same) crowd.adopt(flows);
    return crowd;
  }

  outFlow({ node, credit }, { endpoint, address, lane }, now) {
    const key = node + address;
    if (!this.outFlows.has(key)) {
      this.outFlows.set(key, {
        node,
        endpoint,
        address,
        lane,
        sent: 0,
        limit: credit,
        opening: credit,
        waiting: [],
        lastUsed: now,
        probeMs: PROBE_MS,
        probeAt: 0,
        // For choosing among several holders (crowd.js):
        open: 0, // requests outstanding
        done: 0, // ... that were answered of late
        base: 0, // what `sent` was when counting began
        blockedAt: undefined, // since when a send has waited for its credit
        lagsUntil: 0, // until then it is passed over while it has none
      });
    }
    return this.outFlows.get(key);
  }

  holds(flow) {
    return (this.told.get(flow.endpoint) ?? []).some((holder) => holder.node === flow.node);
  }

  /** Whether something waits for its credit. */
  starves(flow) {
    if (flow.sent < flow.limit) return false;
    const crowd = this.crowds.get(flow.address);
    return flow.waiting.length > 0 || (crowd?.waiting.size > 0 && crowd.flows.includes(flow));
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
    const { flow, kind, endpoint, lane, payload, format, id, window } = item;
    if (payload.length > this.limits.message_size_max) return this.finish(item, "undelivered", MESSAGE_TOO_LARGE);
    const number = (flow.sent += 1) & 0xffff;
    flow.lastUsed = now;
    item.state = "sent";
    if (kind !== SEND) flow.open++;
    const timed =
      kind === SEND ? {} : { id, timeoutMs: Math.max(1, Math.min(item.expires - now, 0xffffffff) | 0) };
    this.write({ kind, format, endpoint, lane, number, window, destination: flow.node, ...timed }, payload);
    if (kind === SEND) this.finish(item, "accepted", 0);
  }

  /** The socket has room again, or credit came. What is more urgent goes first. */
  resume(now) {
    for (const flow of this.byPriority(this.outFlows)) this.drain(flow, now);
    for (const crowd of this.byPriority(this.crowds)) crowd.pump(now);
  }

  byPriority(table) {
    const found = [...table.values()];
    const lane = (each) => each.lane ?? each.flows[0]?.lane ?? NORMAL;
    return found.some((each) => lane(each) !== NORMAL) ? found.sort((one, other) => lane(other) - lane(one)) : found;
  }

  drain(flow, now) {
    while (flow.waiting.length && this.ready(flow, now)) this.transmit(flow.waiting.shift(), now);
  }

  /** Whether something waits for room in the socket alone. */
  stalled() {
    return (
      [...this.outFlows.values()].some((flow) => flow.waiting.length && flow.sent < flow.limit) ||
      (!this.room() && [...this.crowds.values()].some((crowd) => crowd.waiting.size))
    );
  }

  onCredit(flow, limit, now) {
    const gain = flow ? (limit - flow.limit) & 0xffff : 0;
    if (!gain || gain >= 0x8000) return;
    flow.limit += gain;
    flow.probeMs = PROBE_MS;
    this.drain(flow, now);
    flow.probeAt = now + flow.probeMs;
    this.crowds.get(flow.address)?.pump(now);
  }

  probe(flow, now) {
    flow.probeMs = Math.max(PROBE_MS, Math.min(flow.probeMs * 2, PROBE_MAX_MS));
    flow.probeAt = now + flow.probeMs;
    this.write({
      kind: SIGNAL,
      signal: PROBE,
      endpoint: flow.endpoint,
      lane: flow.lane,
      number: flow.sent & 0xffff,
      destination: flow.node,
    });
  }

  onHave(endpoint, holders, now, crossed = 0) {
    const former = this.told.get(endpoint);
    if (former === undefined) return; // nobody asked
    const fresh = holders.filter(
      (holder) => holder.realm >= Math.max(holder.metric >> 14, this.realm, crossed) && holder.node !== this.me,
    );
    this.told.set(endpoint, fresh);
    const flows = [...this.outFlows.values()].filter((flow) => flow.endpoint === endpoint);
    for (const flow of flows) {
      const holder = fresh.find(({ node }) => node === flow.node);
      if (!holder) this.leave(flow);
      else if (!(former ?? []).some(({ node }) => node === flow.node)) {
        flow.opening = holder.credit;
        flow.limit = Math.max(flow.limit, flow.sent + holder.credit);
      }
    }
    for (const crowd of this.crowds.values()) if (crowd.endpoint === endpoint) crowd.disband();
    this.resolveAll(endpoint, now);
    for (const flow of flows) this.drain(flow, now);
  }

  /** A holder is gone: what waits for its credit finds another. */
  leave(flow) {
    flow.limit = Math.min(flow.limit, flow.sent);
    for (const item of flow.waiting.splice(0)) Object.assign(item, { state: "unresolved", flow: undefined, bereft: true });
    const crowd = this.crowds.get(flow.address);
    if (crowd?.flows.includes(flow)) crowd.disband();
  }

  resolveAll(endpoint, now) {
    for (const item of [...this.pending.values()])
      if (item.endpoint === endpoint && item.state === "unresolved") this.resolve(item, now);
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
  }

  // Outcomes

  finish(item, status, code, text = "", more = {}) {
    const waiting = item.flow?.waiting ?? [];
    if (waiting.includes(item)) waiting.splice(waiting.indexOf(item), 1);
    if (!this.pending.delete(item.id)) return;
    this.events.push({ type: "outcome", id: item.id, status, code, text, ...more });
    if (item.state === "sent" && item.kind !== SEND) {
      item.flow.open--;
      if (ANSWERED.includes(status)) item.flow.done++;
    }
    const crowd = this.crowds.get(item.address);
    crowd?.waiting.delete(item);
    if (crowd?.waiting.size) this.freed.add(crowd);
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
  cancel(id, now) {
    const item = this.pending.get(id);
    if (item?.kind === REQUEST) this.callOff(item);
    if (item) this.finish(item, "cancelled", 0);
    this.settle(now);
    return this.takeEvents();
  }

  callOff(item) {
    if (item.state === "sent")
      this.write({ kind: SIGNAL, signal: CANCEL, id: item.id, lane: item.lane, destination: item.flow.node });
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

  onUndeliverable(source, { endpoint, address, number, code }, now) {
    const flow = this.outFlows.get(source + address);
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
    for (const flow of this.outFlows.values())
      if (flow.endpoint === endpoint && flow.node === source) this.leave(flow);
    this.resolveAll(endpoint, now);
    if (!left.length) this.told.delete(endpoint);
  }

  /** How far a broadcast gets that does not say it (protocol 11). */
  get usualRealm() {
    return Math.max(LOCALNET, this.realm);
  }

  /** To all subscribers. False if it was dropped, because there is no session or the socket is full. */
  publish(endpoint, payload, format, { lane = NORMAL, name = "", realm = this.usualRealm } = {}) {
    const address = addressOf(endpoint, lane);
    const number = (this.published.get(address) ?? 0) + 1;
    if (this.state !== OPEN || (lane !== NORMAL && !this.addressing)) return false;
    this.published.set(address, number);
    if (this.pruned.has(endpoint) || realm < this.realm) return true; // nobody listens
    if (!this.room() || payload.length > this.limits.message_size_max) return false;
    const untold = this.addressing && !this.aliasWriter.numbers.has(endpoint); // its router makes the copies for patterns
    const reach = realm === this.usualRealm ? 0 : realm;
    this.write({ kind: PUBLISH, format, endpoint, lane, reach, name: untold && name, number: number & 0xffff }, payload);
    return true;
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
    if (item.consumed === item.nextPart) item.expires = now + item.partMs; // from here on it waits for the server
    if (item.consumed % Math.max(1, item.window >> 1) === 0) this.tellWindow(item, now);
  }

  tellWindow(item, now) {
    item.toldAt = now;
    const number = (item.consumed + item.window) & 0xffff;
    const { id, lane, flow } = item;
    this.write({ kind: SIGNAL, signal: PART_CREDIT, id, lane, number, destination: flow.node });
  }
}
