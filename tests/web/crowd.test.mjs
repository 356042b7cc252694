// Several equally cheap holders of an anycast endpoint, beside a router played here: fair shares, and work for who
// is free. As tests/protocol/test_anycast.py. Run by test_codec.py, under node.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { concat, Reader, unhex, varint } from "../../src/busway/web/codec.js";
import * as codes from "../../src/busway/web/frames.js";
import { Connection } from "../../src/busway/web/leaf.js";

const setup = JSON.parse(readFileSync(new URL("../vectors/setup.json", import.meta.url), "utf8"));
const E = "e1".repeat(16);
const [B, C, D] = ["b0", "c0", "d0"].map((byte) => byte.repeat(20));

/** A leaf's session, its router, and the time. */
class Net {
  constructor() {
    this.now = 1000;
    this.leaf = new Connection({ ...setup.own, realm: codes.GLOBAL, keepalive_ms: 0 }, null, this.now);
    this.outcomes = new Map(); // id -> [status, code]
    this.said = []; // the headers of all messages and signals
    this.leaf.take();
    this.leaf.receive(unhex(setup.states.open.feed), this.now);
    const { aliases_max } = setup.own;
    this.reading = [new codes.AliasReader(aliases_max), new codes.AliasReader(aliases_max, 20, [this.leaf.me, this.leaf.peer])];
    this.see([]);
    this.aliases = new codes.AliasWriter(setup.own.aliases_max);
    this.nodes = new codes.AliasWriter(setup.own.aliases_max, [this.leaf.peer, this.leaf.me]);
  }

  see(events) {
    for (const { type, id, status, code } of events) if (type === "outcome") this.outcomes.set(id, [status, code]);
    const data = this.leaf.take() ?? new Uint8Array(0);
    for (let at = 0; at < data.length; ) {
      const outer = new Reader(data, at);
      const length = outer.varint();
      const reader = new Reader(data, outer.pos, outer.pos + length);
      const head = reader.u8();
      if (head >= 0x80) this.said.push(codes.readHeader(head, reader, ...this.reading));
      at = outer.pos + length;
    }
  }

  tell(header, payload = []) {
    const head = codes.writeHeader(header, this.aliases, this.nodes);
    this.see(this.leaf.receive(codes.framed(concat(head, Uint8Array.from(payload))), this.now));
  }

  /** These have E now, each with this much credit to begin with. */
  have(holders, credit = 4) {
    const entry = (node) => [2 | (3 << 2) | 16, ...this.nodes.write(node), 0xc0, 32, ...varint(credit)];
    this.tell({ kind: codes.SIGNAL, signal: codes.HAVE, endpoint: E }, holders.flatMap(entry));
  }

  submit(kind, timeoutMs = 30_000) {
    const id = this.leaf.submit({ kind, endpoint: E, payload: unhex("f6"), format: 1, timeoutMs }, this.now);
    this.see(this.leaf.takeEvents());
    return id;
  }

  reply(node, id) {
    this.tell({ kind: codes.REPLY, format: 1, id, source: node, realm: codes.GLOBAL }, [0xf6]);
  }

  credit(node, number) {
    const about = { kind: codes.SIGNAL, signal: codes.CREDIT, endpoint: E, source: node, realm: codes.GLOBAL };
    this.tell({ ...about, number: number & 0xffff });
  }

  advance(ms) {
    for (const until = this.now + ms; this.now < until; ) {
      this.now = Math.min(until, Math.max(this.now + 1, this.leaf.nextDeadline()));
      this.see(this.leaf.handleTimer(this.now));
    }
  }

  /** How many were written to each. */
  sent(...nodes) {
    return nodes.map((node) => this.leaf.outFlows.get(node + E)?.sent ?? 0);
  }

  /** Ids of the requests that a node has and has not answered. */
  at(node) {
    const there = ({ state, flow }) => state === "sent" && flow.node === node;
    return [...this.leaf.pending.values()].filter(there).map(({ id }) => id);
  }
}

/** Workers that do one job after the other, until there are none. Returns how many each did, and the time it took. */
function work(net, ms) {
  const done = {};
  const ends = {};
  const began = net.now;
  while (net.leaf.pending.size) {
    assert.ok(net.now < began + 120_000, "they come to an end");
    for (const [node, each] of Object.entries(ms)) {
      const [id] = net.at(node);
      if (id) ends[node] ??= net.now + each;
      if (!id || net.now < ends[node]) continue;
      delete ends[node];
      done[node] = (done[node] ?? 0) + 1;
      net.reply(node, id);
      net.credit(node, net.sent(node)[0] + 1);
    }
    net.now++;
    net.see(net.leaf.handleTimer(net.now));
  }
  return { done, took: net.now - began };
}

test("60 jobs go to who is free: of workers of 50 ms, 50 ms and 1 s the slow one gets two", () => {
  const net = new Net();
  const ids = Array.from({ length: 60 }, () => net.submit("request"));
  net.have([B, C, D], 1);
  const { done, took } = work(net, { [B]: 50, [C]: 50, [D]: 1000 });
  assert.deepEqual(new Set(ids.map((id) => net.outcomes.get(id)[0])), new Set(["replied"]));
  assert.equal(done[D], 2);
  assert.ok(Math.abs(done[B] - done[C]) <= 2);
  assert.ok(took <= 2100, `${took} ms of the time played here`);
  assert.equal([...net.leaf.outFlows.values()].reduce((sum, { open }) => sum + open, 0), 0);
});

test("a worker that becomes quick gets its share again", () => {
  const net = new Net();
  net.submit("request");
  net.have([B, C], 1);
  for (let count = 0; count < 59; count++) net.submit("request");
  assert.ok(work(net, { [B]: 10, [C]: 500 }).done[C] <= 2);
  for (let count = 0; count < 600; count++) net.submit("request");
  const { done } = work(net, { [B]: 10, [C]: 10 });
  assert.equal(done[B] + done[C], 600);
  assert.ok(done[C] > 200, `${done[C]}`);
});

test("requests go where the fewest are outstanding, also to holders that work on many at once", () => {
  const net = new Net();
  net.submit("request");
  net.have([B, C]);
  for (let count = 0; count < 40; count++) {
    net.submit("request");
    for (const id of net.at(C)) net.reply(C, id); // B holds on to what it has
    for (const node of [B, C]) net.credit(node, 1000);
  }
  assert.ok(net.at(B).length <= 2, `${net.at(B).length}`);
  assert.equal(net.sent(B, C)[1], 41 - net.at(B).length);
});

test("called off or late ones are outstanding no more", () => {
  const net = new Net();
  const ids = [net.submit("request", 500), net.submit("request", 1000)];
  net.have([B, C], 1);
  const third = net.submit("request");
  const fourth = net.submit("request");
  net.advance(500);
  assert.deepEqual(net.outcomes.get(ids[0]), ["timeout", codes.EXPIRED]);
  net.credit(B, 2);
  assert.deepEqual(net.at(B), [third]);
  net.see(net.leaf.cancel(ids[1], net.now));
  net.credit(C, 2);
  assert.deepEqual(net.at(C), [fourth]);
});

test("a burst of sends is shared evenly though one answers first", () => {
  const net = new Net();
  const ids = Array.from({ length: 300 }, () => net.submit("send"));
  net.have([B, C]);
  for (let round = 0; net.leaf.pending.size && round < 1000; round++) {
    net.credit(B, net.sent(B)[0] + 4);
    net.now += 5;
    net.see(net.leaf.handleTimer(net.now));
    net.credit(C, net.sent(C)[0] + 4); // a moment later
  }
  assert.ok(ids.every((id) => net.outcomes.get(id)[0] === "accepted"));
  const [b, c] = net.sent(B, C);
  assert.equal(b + c, 300);
  assert.ok(Math.abs(b - c) <= 2, `${b} ${c}`);
});

test("one that does not read is waited for once, then passed over, and given another chance", () => {
  const net = new Net();
  net.submit("send");
  net.have([B, C]);
  let waits = 0;
  for (let count = 1; count < 100; count++) {
    const id = net.submit("send");
    if (!net.outcomes.has(id)) {
      waits++;
      net.advance(20);
    }
    assert.deepEqual(net.outcomes.get(id), ["accepted", 0]);
    net.credit(C, net.sent(C)[0] + 4);
  }
  assert.equal(waits, 1);
  assert.deepEqual(net.sent(B, C), [4, 96]);
  net.advance(600);
  const late = net.submit("send");
  assert.ok(!net.outcomes.has(late), "its turn");
  net.credit(B, 100);
  assert.deepEqual(net.sent(B, C), [5, 96]);
  net.credit(C, 1000);
  for (let count = 0; count < 40; count++) net.submit("send");
  const caughtUp = net.sent(B)[0] - 5;
  assert.ok(caughtUp >= 26 && caughtUp <= 29, `it catches up with no more than a few: ${caughtUp}`);
});

test("who comes later starts level", () => {
  const net = new Net();
  net.submit("send");
  net.have([B, C]);
  for (const node of [B, C]) net.credit(node, 1000);
  for (let count = 0; count < 49; count++) net.submit("send");
  assert.deepEqual(net.sent(B, C), [25, 25]);
  net.have([B, C, D]);
  net.submit("send");
  net.credit(D, 1000);
  for (let count = 0; count < 29; count++) net.submit("send");
  assert.deepEqual(net.sent(B, C, D), [35, 35, 10]);
});

test("who has no credit while others wait for it is asked", () => {
  const net = new Net();
  net.submit("request");
  net.have([B, C], 1);
  net.submit("request");
  net.submit("request");
  net.advance(999);
  const probes = () => net.said.filter(({ signal }) => signal === codes.PROBE);
  assert.deepEqual(probes(), []);
  net.advance(1);
  const asked = probes().map(({ destination, number }) => [destination, number]);
  assert.deepEqual(asked, [
    [B, 1],
    [C, 1],
  ]);
});

test("what waits goes to a new holder, and to who has answered, where there was credit before", () => {
  const net = new Net();
  const ids = Array.from({ length: 4 }, () => net.submit("request"));
  net.have([B, C], 1);
  net.have([B, C, D], 1);
  assert.deepEqual(net.at(D), [ids[2]]);
  net.credit(C, 2);
  assert.deepEqual(net.at(C), [ids[1]]);
  net.reply(C, ids[1]);
  assert.deepEqual(net.at(C), [ids[3]]);
});

test("what waits goes to the holders that are left, and fails when there are none", () => {
  const net = new Net();
  const ids = Array.from({ length: 6 }, () => net.submit("request"));
  net.have([B, C, D], 1);
  assert.deepEqual(net.sent(B, C, D), [1, 1, 1]);
  net.have([B, C], 1);
  net.credit(B, 2);
  assert.deepEqual(net.sent(B, C), [1, 1], "it is still at work, and takes one at a time");
  net.have([C], 1);
  net.credit(C, 3);
  assert.deepEqual(net.at(C), [ids[1], ids[3], ids[4]], "with one holder credit decides");
  net.have([]);
  assert.deepEqual(net.outcomes.get(ids[5]), ["undelivered", codes.NO_ROUTE]);
  net.see(net.leaf.receiveEnd("gone", net.now));
  assert.equal(net.outcomes.size, 6);
});

test("a node that ends takes its own with it, and nothing of what waits", () => {
  const net = new Net();
  const ids = Array.from({ length: 4 }, () => net.submit("request"));
  net.have([B, C], 1);
  const body = [codes.ROUTES, 0, ...net.nodes.write(B)]; // RETRACT
  net.see(net.leaf.receive(codes.framed(Uint8Array.from(body)), net.now));
  assert.deepEqual(net.outcomes.get(ids[0]), ["undelivered", codes.LOST_AFTER_SENDING]);
  assert.equal(net.outcomes.size, 1);
  net.credit(C, 10);
  assert.deepEqual(net.at(C), ids.slice(1));
});

test("a crowd that nobody asks of is forgotten with the endpoint", () => {
  const net = new Net();
  net.submit("send");
  net.have([B, C]);
  assert.equal(net.leaf.crowds.size, 1);
  net.leaf.told.delete(E); // as when others have been asked for meanwhile
  net.advance(2 * codes.SWEEP_MS);
  assert.equal(net.leaf.crowds.size, 0);
});
