/* One session of a Busway leaf (docs/protocol.md, version 2), sans-IO: its times, and which message goes where.

   Bytes and times (ms, any origin) come in, events and bytes go out; nothing here reads a clock, draws random
   numbers or knows a socket. Every session is an incarnation of its own, so neither side has to remember
   anything of the last one. Ids and uuids are hexadecimal text. What is sent is known in origin.js, what comes for
   our endpoints in receiving.js. */

import { lenient, Refusal, text8, varint } from "./codec.js";
import { Presence } from "./presence.js";
import * as codes from "./frames.js";

// prettier-ignore
const {
  CANCEL, CLOSED, CREDIT, END, ERROR, GLOBAL, GRAFT, HAVE, LOCALNET, MALFORMED, PART, PART_CREDIT, PROBE, PRUNE, PUBLISH, REPLY,
  REQUEST, SELECTED, SIGNAL, SWEEP_MS, SYNC, TRACE, TRACED, UNDELIVERABLE, USERSPACE, WHO,
} = codes;

/** One session. Feed it with `receive` and `receiveEnd`, write what `take` gives, call `handleTimer` at
    `nextDeadline`, and close the socket when `done`. Each of these that can make something happen returns a list
    of events: open, synced, message, cancelled, outcome, part, room, undeliverable, taken, back, closed. */
export class Connection extends Presence {
  /** @param hello our fields of HELLO, see `encodeHello`. @param secret see `Channel`, or null. @param now ms. */
  constructor(hello, secret, now) {
    super(hello, secret, now);
    this.sweepAt = now + SWEEP_MS;
  }

  opened() {
    const lines = [[], [], [], []]; // by realm
    for (const [endpoint, mine] of this.endpoints) lines[mine.realm].push({ endpoint, ...mine });
    this.announce(lines[GLOBAL], GLOBAL, this.mine.label);
    for (const realm of [LOCALNET, USERSPACE]) if (lines[realm].length) this.announce(lines[realm], realm);
    this.say([SYNC, 3]);
    for (const [endpoint, { kind }] of this.endpoints) this.watch(endpoint, kind);
  }

  /** The other side has let us in: it may have thought about it since its HELLO. */
  synced() {
    this.events.push({ type: "synced", node: this.theirs.node, label: this.theirs.label });
  }

  nextDeadline() {
    return this.state === CLOSED ? Infinity : Math.min(super.nextDeadline(), this.sweepAt);
  }

  handleTimer(now) {
    if (this.state === CLOSED) return this.takeEvents();
    if (now >= this.deadline) this.onDeadline(now);
    this.due(now);
    if (now >= this.sweepAt) {
      this.sweepAt = now + SWEEP_MS;
      this.sweep(now);
    }
    return this.takeEvents();
  }

  /** The socket has room again. */
  resume(now) {
    super.resume(now);
    return this.takeEvents();
  }

  // Messages in

  onRoutes(reader, now) {
    while (reader.left) {
      const entry = reader.u8();
      if (entry > 7) throw new Refusal(MALFORMED, `a ROUTES entry of kind ${entry}`);
      const node = entry !== 6 ? this.nodes.read(reader) : "";
      if (entry === 1) reader.take(4);
      else if (entry === 3) for (let line = 0; line < 3; line++) reader.varint();
      else if (entry > 3 && entry < 7 && reader.u16() && entry === 6)
        throw new Refusal(MALFORMED, "more entries acknowledged than were sent");
      if (entry === 0 || entry === 7) this.nodeGone(node, now, entry === 7); // a leaf is told nothing else
    }
    this.settle(now);
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
    this.settle(now);
  }

  onSignal(source, header, now) {
    const { signal, endpoint, address, number, id } = header;
    const asked = this.serving.get(source + id);
    // What it has crossed must be within the realm of the endpoint that it is about.
    const request = asked?.realm < Math.max(this.realm, header.realm ?? 0) ? undefined : asked;
    const holder = (this.told.get(endpoint) ?? []).find((each) => each.node === source);
    if ((signal === CREDIT || signal === UNDELIVERABLE) && holder && holder.realm < (header.realm ?? 0)) return;
    if (signal === CANCEL && !request?.confirm) this.drop(request); // a confirmed send is not called off
    else if (signal === CREDIT) this.onCredit(this.outFlows.get(source + address), number, now);
    else if (signal === PROBE) this.onProbe(source, header, number, now);
    else if (signal === PART_CREDIT) this.onPartCredit(request, number, now);
    else if (signal === END) this.onEnd(source, id, number, now);
    else if (signal === UNDELIVERABLE) this.onUndeliverable(source, header, now);
    else if (signal === WHO) this.onWho(source, endpoint, header.realm);
    else if (signal === HAVE && source === this.peer) this.onHave(endpoint, header.holders, now, header.realm);
    else if (signal === PRUNE && source === this.peer && header.node === this.me) this.pruned.add(endpoint);
    else if (signal === GRAFT && source === this.peer && header.node === this.me)
      this.pruned.delete(endpoint);
    else if (signal === TRACE) {
      const { cost = 32, medium = "ws", label } = this.mine;
      const report = [this.realm, ...varint(cost), ...text8(medium), ...text8(label)];
      this.write({ kind: SIGNAL, signal: TRACED, id, destination: source }, Uint8Array.from(report));
    } else if (signal === SELECTED && source === this.peer) this.onSelected(header, now);
    else if (signal < CANCEL || signal > SELECTED || signal === SELECTED || signal === PRUNE || signal === GRAFT) this.skipped++;
  }
}
