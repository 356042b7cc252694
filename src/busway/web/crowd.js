/* Which of several equally cheap holders of an anycast endpoint gets a message, and what waits for one of them.

   As protocol/anycast.py of the core: a request goes where the fewest are outstanding, a plain send to who has got
   the least. What nobody may get yet waits here, in order, and not at one of them: so whoever is free first gets it.
   Sans-IO. Knows flows, and of its session only `ready` and `transmit`. */

import { OPENING_CREDIT, OUTSTANDING_MAX, SEND } from "./frames.js";

const PATIENCE_MS = 20; // how long a send waits for the holder whose turn it is: credit is on its way if it reads
const LAG_MS = 500; // how long it is passed over after that, while it has no credit
const DEBT_MAX = 16; // sends that a holder may be behind the others, to catch up with
const MEMORY = 256; // answers of the quickest holder after which all counts are halved

/** What a flow has got of the messages that others could have got as well. */
const share = (flow) => flow.sent - flow.base;
const least = (flows) => Math.min(...flows.map(share));

/** The holders of one endpoint for messages of one priority, and what waits for them. */
export class Crowd {
  constructor(session, endpoint) {
    this.session = session;
    this.endpoint = endpoint;
    this.flows = [];
    this.waiting = new Set(); // in order
    this.deadline = Infinity;
    this.turn = 0;
  }

  /** These are the holders now; who is new starts level with the one that has got the least. */
  adopt(flows) {
    const stayed = flows.filter((flow) => this.flows.includes(flow));
    const fresh = flows.filter((flow) => !this.flows.includes(flow));
    if (stayed.length) {
      const level = least(stayed);
      for (const flow of fresh) flow.base = flow.sent - level;
    } else {
      const level = Math.min(...flows.map((flow) => flow.sent));
      for (const flow of flows) flow.base = flow.sent - Math.min(flow.sent - level, DEBT_MAX);
    }
    this.flows = flows;
  }

  /** Let it go now, or hold it until a holder may get it. */
  put(item, now) {
    const flow = this.waiting.size ? undefined : this.pick(item.kind, now);
    if (flow) return this.launch(item, flow, now);
    item.state = "waiting";
    this.waiting.add(item);
    if (this.waiting.size === 1) this.awaitCredit(now);
  }

  /** Let go what may go, in order. */
  pump(now) {
    this.deadline = Infinity;
    for (const item of this.waiting) {
      const flow = this.pick(item.kind, now);
      if (!flow) return this.awaitCredit(now);
      this.waiting.delete(item);
      this.launch(item, flow, now);
    }
  }

  launch(item, flow, now) {
    item.flow = flow;
    this.session.transmit(item, now);
  }

  /** The holders are others now: what waits is to be resolved anew. */
  disband() {
    for (const item of this.waiting) Object.assign(item, { state: "unresolved", bereft: true });
    this.waiting.clear();
    this.deadline = Infinity;
  }

  /** Whoever has no credit is asked for it in a while. */
  awaitCredit(now) {
    for (const flow of this.flows)
      if (flow.sent >= flow.limit && !(flow.probeAt > now)) flow.probeAt = now + flow.probeMs;
  }

  pick(kind, now) {
    const flow = kind === SEND ? this.fairest(now) : this.leastBusy(now);
    if (flow) this.turn++;
    return flow;
  }

  /** Each holder once, another first at each turn. */
  inTurn() {
    const { flows, turn } = this;
    return flows.map((_, at) => flows[(at + turn) % flows.length]);
  }

  mayGo(flow, now) {
    return !flow.waiting.length && this.session.ready(flow, now);
  }

  /** The holder with the fewest requests outstanding, in turn among equals. */
  leastBusy(now) {
    const most = Math.max(...this.flows.map((flow) => flow.done));
    if (most >= MEMORY) for (const flow of this.flows) flow.done >>= 1;
    let best;
    for (const flow of this.inTurn())
      if ((!best || flow.open < best.open) && flow.open < allowed(flow, most) && this.mayGo(flow, now)) best = flow;
    return best;
  }

  /** The holder that has got the least. One without credit is waited for a moment, so that a burst does not all go
      to the one that answers first, then passed over for a while. */
  fairest(now) {
    const most = Math.max(...this.flows.map(share));
    for (;;) {
      const able = this.inTurn().filter((flow) => now >= flow.lagsUntil || this.mayGo(flow, now));
      const best = able.find((flow) => share(flow) === least(able));
      if (!best) return undefined;
      if (this.mayGo(best, now)) {
        best.base = Math.min(best.base, best.sent - most + DEBT_MAX);
        best.blockedAt = undefined;
        return best;
      }
      best.blockedAt ??= now;
      if (now - best.blockedAt < PATIENCE_MS) {
        this.deadline = best.blockedAt + PATIENCE_MS;
        return undefined;
      }
      best.blockedAt = undefined;
      for (const flow of this.flows) // all at once: in turn, many that are stuck would keep all from who is not
        if (!this.mayGo(flow, now)) flow.lagsUntil = now + LAG_MS;
    }
  }
}

/** How many requests a holder may have outstanding that works on few at once, as its opening credit below 4 says:
    the quickest as many as that, and ahead of it a few more the more it has answered; the others in proportion. Of
    the rest credit decides. */
function allowed(flow, most) {
  if (flow.opening >= OPENING_CREDIT) return OUTSTANDING_MAX;
  const many = flow.opening + (most >> 4);
  return Math.max(1, most ? Math.floor((many * flow.done) / most) : many);
}
