// Endpoints of a leaf whose link is narrower than some of them: each line by itself, and nothing that came from farther
// off than an endpoint reaches. Run by test_node.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { hex, Reader, unhex, varint } from "../../src/busway/web/codec.js";
import { ANYCAST, BROADCAST, GLOBAL, LOCALNET, UNICAST, USERSPACE } from "../../src/busway/web/codes.js";
import { Connection } from "../../src/busway/web/leaf.js";

const setup = JSON.parse(readFileSync(new URL("../vectors/setup.json", import.meta.url), "utf8"));
const NOW = 1000;
const [NEAR, USUAL, WIDE, LATE] = ["e1", "e2", "e3", "e4"].map((byte) => byte.repeat(16));
const frame = (text) => unhex(hex(varint(text.length / 2)) + text);

function bodies(raw) {
  const found = [];
  for (let at = 0; raw && at < raw.length;) {
    const reader = new Reader(raw, at);
    found.push(hex(reader.take(reader.varint())));
    at = reader.pos;
  }
  return found;
}

function connection(realm = USERSPACE) {
  const made = new Connection({ ...setup.own, realm }, null, NOW);
  made.take();
  for (const [uuid, reach] of [[NEAR, USERSPACE], [USUAL, LOCALNET], [WIDE, GLOBAL]]) made.register(uuid, ANYCAST, "", [], reach);
  return made;
}

function open(realm) {
  const made = connection(realm);
  made.receive(unhex(setup.states.open.feed), NOW);
  return { made, said: bodies(made.take()).filter((body) => body.startsWith("06")) };
}

test("each realm has a line with a version of its own; none goes over a wider link", () => {
  const { made, said } = open(USERSPACE);
  assert.deepEqual(said, [`0617010161` + `0001` + `02${WIDE}`, `0612010001` + `02${USUAL}`, `0611010001` + `02${NEAR}`]);
  made.register(LATE, ANYCAST, "", [], LOCALNET);
  made.withdraw(WIDE);
  assert.deepEqual(bodies(made.take()), [`0612010102` + `02${LATE}`, `0613010102` + `00${WIDE}`]);
  assert.deepEqual(open(LOCALNET).said.map((body) => body.slice(0, 4)), ["0617", "0612"]);
  assert.deepEqual(open(GLOBAL).said, [`0617010161` + `0001` + `02${WIDE}`]);
});

test("what came from beyond the realm of an endpoint finds nobody there", () => {
  const { made } = open(USERSPACE);
  const answers = (uuid, alias, crossed) => {
    const head = `b80${crossed}ff`; // REQUEST that has crossed this realm, from the neighbour
    const events = made.receive(frame(`${head}00${alias}${uuid}0001` + "07" + "e807"), NOW);
    for (const { request } of events) made.respond(request, unhex("f6"), 1);
    return bodies(made.take()).filter((body) => body.startsWith("c") || body.startsWith("e")).map((body) => body.slice(0, 2));
  };
  const reached = (crossed) => [[NEAR, "0a"], [USUAL, "0b"], [WIDE, "0c"]].map(([uuid, alias]) => answers(uuid, alias, crossed)[0]);
  assert.deepEqual(reached(3), ["e0", "e0", "c1"]);
  const again = open(USERSPACE).made;
  const holders = (crossed) => {
    again.receive(frame(`f80${crossed}ff` + `07000b${USUAL}`), NOW); // WHO
    return bodies(again.take());
  };
  assert.deepEqual(holders(2), [`f0080001${USUAL}` + "0a010000"], "HAVE: anycast, LOCALNET, this node");
  assert.deepEqual(holders(3), ["f00801"], "HAVE of nobody");
});

test("nor does a question for credit, a cancellation, or room for parts", () => {
  const { made } = open(USERSPACE);
  const from = (crossed) => `f80${crossed}ff`;
  const ask = `b40402020002` + `000b${USUAL}0001` + "07" + "e807"; // REQUEST with a window of 2
  const [{ request }] = made.receive(frame(ask), NOW);
  made.take();
  made.receive(frame(`${from(3)}030b0009`), NOW); // PROBE
  assert.deepEqual(bodies(made.take()), []);
  made.receive(frame(`${from(2)}030b0009`), NOW);
  assert.equal(bodies(made.take()).length, 1, "CREDIT");
  made.receive(frame(`${from(3)}04070009`), NOW); // PART_CREDIT
  assert.equal(request.limit, 2);
  made.receive(frame(`${from(2)}04070009`), NOW);
  assert.equal(request.limit, 9);
  assert.deepEqual(made.receive(frame(`${from(3)}0107`), NOW), []); // CANCEL
  assert.deepEqual(made.receive(frame(`${from(2)}0107`), NOW).map(({ type }) => type), ["cancelled"]);
});

test("what is published says how far it may get, unless that goes without saying", () => {
  const published = (link, realm) => {
    const { made } = open(link);
    const told = made.publish(LATE, unhex("01"), 0, { realm });
    assert.ok(told);
    return bodies(made.take()).map((body) => body.slice(0, 10));
  };
  assert.deepEqual(published(USERSPACE, USERSPACE), ["9403040101"]);
  assert.deepEqual(published(USERSPACE, LOCALNET).map((body) => body.slice(0, 2)), ["90"]);
  assert.deepEqual(published(USERSPACE, GLOBAL), ["9403040103"]);
  assert.deepEqual(published(GLOBAL, GLOBAL).map((body) => body.slice(0, 2)), ["90"]);
  assert.deepEqual(published(GLOBAL, LOCALNET), [], "nobody within that realm is over there");
});

test("only who has a name in the same realm is in conflict", () => {
  for (const [realm, type] of [[USERSPACE, undefined], [LOCALNET, "taken"]]) {
    const { made } = open(USERSPACE);
    made.register(LATE, UNICAST, "", [], LOCALNET);
    made.take();
    const holder = hex([UNICAST | (realm << 2), 1, 0, 0]); // the neighbour
    const events = made.receive(frame(`f0080001${LATE}${holder}`), NOW);
    assert.equal(events[0]?.type, type, `realm ${realm}`);
  }
  const { made } = open(USERSPACE);
  made.register(LATE, BROADCAST, "", [], USERSPACE);
  assert.equal(bodies(made.take())[0].slice(0, 4), "0611");
});
