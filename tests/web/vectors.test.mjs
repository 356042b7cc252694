// The golden vectors of tests/vectors/ against the JavaScript client. Run by tests/web/test_codec.py, under node.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { decode, hex, Reader, Refusal, unhex, uuidOf, varint } from "../../src/busway/web/codec.js";
import * as frames from "../../src/busway/web/frames.js";
import { Connection } from "../../src/busway/web/leaf.js";
import { Watch } from "../../src/busway/web/presence.js";
import { where } from "../../src/busway/web/selectors.js";

const load = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), "utf8"));
const NOW = 1000;
const REALMS = { PROCESS: 0, USERSPACE: 1, LOCALNET: 2, GLOBAL: 3 };
const KINDS = "SEND PUBLISH CONFIRM REQUEST REPLY PART ERROR SIGNAL".split(" ");
const SIGNALS = "- CANCEL CREDIT PROBE PART_CREDIT UNDELIVERABLE END WHO HAVE PRUNE GRAFT TRACE TRACED SELECT SELECTED".split(
  " ",
);
const HOLDERS = "withdrawn unicast anycast broadcast".split(" ");
const setup = load("setup");

const hello = (fields) => ({ ...fields, realm: REALMS[fields.realm] });

// Node A's connection in a state, as setup.json says.
function connection(state) {
  const how = setup.states[state];
  const made = new Connection(hello(setup.own), null, NOW);
  assert.equal(hex(made.take()), how.sends ?? setup.sends, `${state}: its HELLO`);
  made.receive(unhex(how.feed), NOW);
  made.take();
  return made;
}

function bodies(raw) {
  const found = [];
  for (let at = 0; at < raw.length;) {
    const reader = new Reader(raw, at);
    found.push(reader.take(reader.varint()));
    at = reader.pos;
  }
  return found;
}

test("varints", () => {
  const vectors = load("varints");
  for (const { hex: raw, value, canonical } of vectors.good) {
    assert.equal(new Reader(unhex(raw)).varint(), value);
    if (canonical) assert.equal(hex(varint(value)), raw);
  }
  for (const { hex: raw } of [...vectors.refused, ...vectors.incomplete]) {
    assert.throws(
      () => new Reader(unhex(raw)).varint(),
      (error) => error instanceof Refusal && error.code === 9,
      raw,
    );
  }
});

test("names", () => {
  for (const { name, uuid } of load("names").names) assert.equal(uuidOf(name), uuid);
});

// What only a router has to find: it has leaves, and boards dial it (what a page finds of a handshake:
// secure.test.mjs). And RUN, things, SELECT and HAVE_PART, which this client does not have; and what is in an entry's extension.
const routersOnly = ({ state, scope, name }) =>
  ["open to a leaf", "securing", "open with runs", "open with things"].includes(state) ||
  scope === "extension" ||
  name.startsWith("SELECT") ||
  name.startsWith("HAVE_PART");

test("what breaks a link, and with which number; whole and one byte at a time", () => {
  const vectors = load("errors").vectors.filter((vector) => !routersOnly(vector));
  assert.ok(vectors.length > 100, `${vectors.length} vectors`);
  for (const vector of vectors) {
    const raw = unhex(vector.hex);
    for (const step of [raw.length || 1, 1]) {
      const made = connection(vector.state);
      for (let at = 0; at < raw.length; at += step) made.receive(raw.subarray(at, at + step), NOW);
      const wanted = vector.code === null ? [-1, 0] : [vector.code];
      assert.ok(
        wanted.includes(made.closeCode),
        `${vector.name}: ended with ${made.closeCode} ${made.closeText}, not ${vector.code}`,
      );
    }
  }
});

test("every field of every frame, and the same bytes back", () => {
  let count = 0;
  for (const vector of load("frames").vectors.filter((vector) => !routersOnly(vector))) {
    const raw = unhex(vector.hex);
    const tables = makeTables();
    bodies(raw).forEach((body, at) => {
      checkFrame(vector, body, vector.frames[at], tables);
      count++;
    });
    if (vector.state === "greeting") continue;
    const made = connection(vector.state);
    made.receive(raw, NOW);
    const close = vector.frames.find((frame) => frame.kind === "CLOSE");
    assert.equal(made.closeCode, close ? close.code : -1, `${vector.name}: ${made.closeText}`);
    const skipped = vector.frames.filter((frame) => frame.skipped || frame.kind === "DIRECTORY").length;
    assert.equal(made.skipped, skipped, `${vector.name}: skipped`);
  }
  assert.ok(count > 100, `${count} frames`);
});

test("whatever comes ends a link at the most, and never throws", () => {
  const vectors = load("frames").vectors.filter((vector) => vector.state === "open");
  let seed = 1;
  const draw = (below) => (seed = (seed * 48271) % 0x7fffffff) % below; // Park and Miller: the same at each run
  const ends = new Set();
  for (let round = 0; round < 3000; round++) {
    const raw = unhex(vectors[draw(vectors.length)].hex);
    for (let changes = 1 + draw(4); changes; changes--) raw[draw(raw.length)] = draw(256);
    const made = connection("open");
    for (const event of made.receive(raw, NOW)) assert.equal(typeof event.type, "string");
    made.handleTimer(NOW + draw(100000));
    ends.add(made.closeCode);
  }
  for (const code of [-1, 9, 10, 11, 12, 14])
    assert.ok(ends.has(code), `none ended with ${code}: ${[...ends]}`);
});

const E1 = "e1".repeat(16);
const frame = (text) => unhex(hex(varint(text.length / 2)) + text);
const submit = (made, kind, more) =>
  made.submit({ kind, endpoint: E1, payload: unhex("f6"), format: 1, ...more }, NOW);

// A leaf that has asked who has E1, and was told: the neighbour, as anycast.
function informed(state = "open") {
  const made = connection(state);
  const ids = ["request", "confirm", "send"].map((kind) => submit(made, kind, { timeoutMs: 5000 }));
  assert.deepEqual(bodies(made.take()).map(hex), [`f0070001${E1}`], "one WHO for all");
  const events = made.receive(frame(`f0080001${E1}0e010000`), NOW);
  return { made, ids, events, written: bodies(made.take()).map(hex) };
}

test("a lookup, numbers that go on, and what becomes of each when the link is lost", () => {
  const { made, ids, events, written } = informed();
  assert.deepEqual(written, ["b10100010188" + "27f6", "a10100020288" + "27f6", "81010003f6"]);
  assert.deepEqual(
    events.map(({ id, status }) => [id, status]),
    [[ids[2], "accepted"]],
  );
  submit(made, "request", { timeoutMs: 5000 });
  const waits = submit(made, "request", { timeoutMs: 5000 }); // the opening credit of 4 is used up
  assert.equal(bodies(made.take()).length, 1);
  const lost = made.receiveEnd("gone", NOW).filter(({ type }) => type === "outcome");
  assert.deepEqual(
    lost.map(({ id, status, code }) => [id, status, code]),
    [
      [ids[0], "undelivered", 13],
      [ids[1], "unknown", 4],
      [ids[1] + 2, "undelivered", 13],
      [waits, "unsent", 4],
    ],
  );
});

test("credit, probes, deadlines, the end of a node", () => {
  const { made } = informed();
  for (let count = 0; count < 3; count++) submit(made, "send");
  assert.deepEqual(bodies(made.take()).map(hex), ["81010004f6"], "the last within the credit");
  made.handleTimer(NOW + 999);
  assert.equal(made.take(), null);
  made.handleTimer(NOW + 1000);
  assert.deepEqual(bodies(made.take()).map(hex), ["f003010004"], "PROBE");
  made.receive(frame(`f0020001${E1}0006`), NOW + 1100);
  assert.deepEqual(bodies(made.take()).map(hex), ["81010005f6", "81010006f6"]);
  assert.deepEqual(
    made.receive(frame(`f0020001${E1}0005`), NOW + 1100),
    [],
    "an older limit changes nothing",
  );
  const over = made.handleTimer(NOW + 5000).map(({ status, code }) => [status, code]);
  assert.deepEqual(over, [
    ["timeout", 3],
    ["unknown", 3],
  ]);
  assert.deepEqual(bodies(made.take()).map(hex), ["f00101"], "CANCEL");
  const late = submit(made, "request", { timeoutMs: 5000 });
  made.receive(frame("080001"), NOW + 5000); // RETRACT of the neighbour itself
  assert.deepEqual(made.receive(frame("c001f6"), NOW + 5000), [], "a late reply is ignored");
  assert.ok(!made.pending.has(late), "and the node's end ended what waited for it");
});

test("what comes for our endpoints: numbers, credit, deadlines, answers", () => {
  const made = connection("open");
  made.register(E1, 2, "e1");
  assert.deepEqual(bodies(made.take()).map(hex), [`0613010001` + `42${E1}026531`], "our line");
  const head = `b0000a${E1}`; // REQUEST, binds alias 10
  const [event] = made.receive(frame(`${head}0001` + `07` + `e807`), NOW);
  assert.deepEqual([event.type, event.endpoint, event.missed, event.request.id], ["message", E1, 0, 7]);
  made.respond(event.request, unhex("01"), 1);
  assert.equal(hex(bodies(made.take()).at(-1)), "c10701");
  const [next] = made.receive(frame("b00a" + "0004" + "08" + "e807"), NOW);
  assert.equal(next.missed, 2);
  assert.deepEqual(made.receive(frame("b00a" + "0004" + "09" + "e807"), NOW), [], "not twice");
  assert.ok(bodies(made.take()).map(hex).includes("e0090e"), "OVERTAKEN");
  assert.deepEqual(
    made.handleTimer(NOW + 1000).map(({ type }) => type),
    ["cancelled"],
  );
  made.respond(next.request, unhex("01"), 1);
  assert.equal(made.take(), null, "nobody waits for it any more");
  const [plain] = made.receive(frame("800a0005"), NOW);
  made.take();
  made.turnAway(plain);
  assert.deepEqual(bodies(made.take()).map(hex), ["f00501000501"], "UNDELIVERABLE: NO_ENDPOINT");
  made.receive(frame("900a" + "0001"), NOW); // PUBLISH to an anycast endpoint
  made.receive(frame(`a0000b${"e2".repeat(16)}0001` + "03" + "e807"), NOW);
  assert.deepEqual(bodies(made.take()).map(hex), ["e00301"], "NO_ENDPOINT");
});

test("messages of another priority: numbers and credit of their own, answers that follow", () => {
  const made = connection("open");
  made.addressing = true;
  submit(made, "send", { lane: 3 });
  submit(made, "request", { lane: 3, timeoutMs: 5000 });
  submit(made, "send");
  made.take();
  made.receive(frame(`f0080001${E1}0e010000`), NOW);
  const urgent = "03050103";
  assert.deepEqual(bodies(made.take()).map(hex), [
    `85${urgent}010001f6`,
    `b5${urgent}010002028827f6`,
    "81010001f6",
  ]);
  made.receive(frame("f0" + "02" + "01" + "0005"), NOW); // CREDIT for the plain ones
  for (let count = 0; count < 3; count++) submit(made, "send", { lane: 3 });
  assert.equal(bodies(made.take()).length, 2, "the opening credit of urgent ones is their own");
  made.receive(frame(`f4${urgent}0201` + "0005"), NOW);
  assert.deepEqual(bodies(made.take()).map(hex), [`85${urgent}010005f6`], "CREDIT for them");
  const gone = made.receive(frame(`f4${urgent}0501` + "0005" + "01"), NOW);
  assert.deepEqual(gone.map(({ type, seq }) => [type, seq]), [["undeliverable", 5]]);
  assert.deepEqual(made.receive(frame("f0" + "0501" + "0005" + "01"), NOW), [], "no plain one has that number");

  const other = connection("open");
  other.register(E1, 2, "e1");
  other.take();
  const high = "03050102";
  const [asked] = other.receive(frame(`b4${high}000a${E1}0001` + "07" + "e807"), NOW);
  assert.equal(asked.lane, 2);
  other.respond(asked.request, unhex("01"), 1);
  assert.equal(hex(bodies(other.take()).at(-1)), `c5${high}0701`, "REPLY");
  assert.equal(other.receive(frame("b00a0001" + "08" + "e807"), NOW)[0]?.missed, 0, "numbers of its own");
  other.take();
  other.receive(frame(`84${high}0a0009`), NOW);
  other.take();
  other.receive(frame(`f4${high}030a000b`), NOW);
  const [credit] = bodies(other.take()).map(hex);
  assert.ok(credit.startsWith(`f4${high}0201`) || credit.startsWith(`f4${high}020001${E1}`), credit);
});

test("what is published under a name that a pattern means, and last values", () => {
  const made = connection("open");
  const events = (body) => made.receive(frame(body), NOW);
  const text = (words) => hex([...words].map((letter) => letter.charCodeAt(0)));
  const named = (name) => `06${hex([name.length])}${text(name)}`;
  const options = (raw) => hex([raw.length / 2]) + raw;
  made.register(E1, 3, "lab/*");
  made.take();
  const [event] = events(`94${options(named("lab/x"))}000a${E1}0001f6`);
  assert.deepEqual([event.name, event.retained, event.lane], ["lab/x", false, 1]);
  assert.deepEqual(events(`94${options(named("hut/x"))}0a0002f6`), [], "a name that it does not mean");
  assert.deepEqual(events("900a0003f6"), [], "without a name");
  assert.equal(made.skipped, 2);
  const kept = (name, number) => options(named(name) + `0704${number}`);
  const seen = (found) => found.map(({ name, retained, missed }) => [name, retained, missed]);
  assert.deepEqual(seen(events(`84${kept("lab/y", "00000009")}0a0000f6`)), [["lab/y", true, 0]], "a SEND, from before");
  assert.deepEqual(events(`84${kept("lab/y", "00000009")}0a0000f6`), [], "the same again");
  assert.deepEqual(seen(events(`94${kept("lab/y", "0000000a")}0a0004f6`)), [["lab/y", false, 2]], "a newer one");
  assert.deepEqual(events(`94${kept("lab/y", "0000000a")}0a0006f6`), [], "which came as a SEND before");
  assert.deepEqual(seen(events(`94${options(named("lab/z"))}0a0007f6`)), [["lab/z", false, 1]], "5 is missed");
  assert.deepEqual(made.lasts.of(E1).map(({ name, retained }) => [name, retained]), [["lab/y", true]]);
  assert.deepEqual(events(`94${kept("lab/y", "8000000b")}0a0008`), [], "there is none any more");
  assert.deepEqual(made.lasts.of(E1), []);
  assert.deepEqual(events(`84${kept("lab/y", "0000000a")}0a0000f6`), [], "nor an older one");
  assert.equal(made.take(), null, "there is no credit for last values");
  events(`b4${options("07040000000f")}0a0000050100090203`); // behind 0, up to 15, there are 9, 11 and 14
  assert.equal(hex(made.take()), "04c0050905", "9 and 14 are lacking, while 11 has come");
  assert.deepEqual(seen(events(`84${kept("lab/w", "0000000e")}0a0000f6`)), [["lab/w", true, 0]]);
  events(`b4${options("07040000000f")}0a00000501000b`); // lab/w is no more
  assert.equal(hex(made.take()), "02c005");
  assert.deepEqual(made.lasts.of(E1), []);
  events(`b4${options("07040000000f")}0a0000050180`);
  assert.equal(made.take(), null, "these are no numbers");
  events(`84${options(named("lab/y"))}0a0001f6`);
  assert.ok(hex(bodies(made.take()).at(-1)).endsWith("07"), "WRONG_KIND without RETAIN");
  made.register("e2".repeat(16), 3, "lab/x");
  made.take();
  assert.deepEqual(events(`94${options(named("lab/x"))}000b${"e2".repeat(16)}0001f6`), [], "a name has none");
});

test("the name of what is published is told once, and copies of leaves are numbered by their router", () => {
  const made = connection("open");
  made.addressing = true;
  for (let count = 0; count < 2; count++) made.publish(E1, unhex("f6"), 1, { name: "lab" });
  assert.deepEqual(bodies(made.take()).map(hex), [`9505` + "06036c6162" + `0001${E1}0001f6`, "91010002f6"]);
  const pattern = "e2".repeat(16);
  made.register(pattern, 3, "*");
  const come = (root, number, alias) =>
    made.receive(frame(`9c` + `0cff${root}` + "05" + "06036c6162" + `${alias}00${hex([number])}f6`), NOW).map(({ missed }) => missed);
  const [one, other, source] = ["31", "32", "33"].map((digits) => digits.repeat(20));
  assert.deepEqual(come(`0003${one}0004${source}`, 7, `000a${pattern}`), [0]);
  assert.deepEqual(come("0304", 9, "0a"), [1]);
  assert.deepEqual(come("0304", 9, "0a"), [], "not twice");
  assert.deepEqual(come(`0005${other}04`, 1, "0a"), [0], "another router begins anew");
});

test("what has a priority is not sent to a side that does not know it", () => {
  const greeted = (features) => {
    const made = new Connection({ ...hello(setup.own), features: 4 }, null, NOW);
    const theirs = { ...hello(setup.own), features, dialled: !setup.own.dialled, node: "11".repeat(16) };
    made.receive(frames.framed(frames.encodeHello(theirs)), NOW);
    submit(made, "send", { lane: 2 });
    return [made.publish(E1, unhex("f6"), 1, { lane: 2 }), made.takeEvents()];
  };
  assert.deepEqual(greeted(4), [true, []], "who has it is asked");
  const [published, [{ status, code }]] = greeted(0);
  assert.deepEqual([published, status, code], [false, "undelivered", 16]);
});

test("labels: written where they are known, and then in the order of their bytes", () => {
  const greeted = (features) => {
    const made = new Connection({ ...hello(setup.own), features: 4 }, null, NOW);
    made.take();
    const theirs = { ...hello(setup.own), features, dialled: !setup.own.dialled, node: "11".repeat(16) };
    made.receive(frames.framed(frames.encodeHello(theirs)), NOW);
    made.take();
    made.register(E1, 3, "e1", ["a", "bc"]);
    return bodies(made.take()).map(hex);
  };
  const line = "0613010001";
  assert.deepEqual(greeted(4), [`${line}c3${E1}026531` + "07" + "010161" + "01026263"]);
  assert.deepEqual(greeted(0), [`${line}43${E1}026531`]);
  const labels = Array.from({ length: 8 }, (_, at) => `${at}`.repeat(32));
  const entries = Array.from({ length: 20 }, (_, at) => ({ endpoint: hex([at]).repeat(16), kind: 2, labels }));
  const bodiesOf = frames.encodeChange({ base: 0, version: 20, entries }, 512);
  assert.equal(bodiesOf.length, 20);
  assert.ok(bodiesOf.every((body) => body.length <= 512));
});

test("who is there: questions, answers in parts, nodes that go, and a reader that is slow", () => {
  const made = connection("open");
  made.addressing = true;
  const watch = new Watch(where.name("lab/*").expression);
  const told = () => {
    const lines = [];
    for (let one; (one = watch.next());) lines.push([one.what, one.name, one.reason].filter(Boolean).join(" "));
    return lines;
  };
  const [one, other] = ["31", "32"].map((digits) => digits.repeat(20));
  const text = (words) => hex([...words].map((letter) => letter.charCodeAt(0)));
  const holder = (node, uuid, name, extension = "") =>
    `${extension ? "ce" : "4e"}${node}${uuid}0001${hex([name.length])}${text(name)}${extension}`;
  made.observe(watch, NOW);
  assert.deepEqual(bodies(made.take()).map(hex), ["f00d" + "01" + "0205" + text("lab/*")], "SELECT");
  assert.equal(made.nextDeadline() > NOW, true);
  made.receive(frame(`f00e0101${holder(`0003${one}`, `0001${E1}`, "lab/a")}`), NOW);
  assert.deepEqual(told(), [], "more follow");
  const labelled = holder(`0004${other}`, "01", "lab/a", "07" + "01" + "03" + text("wet") + "0900");
  made.receive(frame(`f00e0100${labelled}`), NOW);
  assert.deepEqual(told(), ["present lab/a", "present lab/a", "complete"]);
  assert.deepEqual([...watch.here.values()].map(({ labels }) => labels), [[], ["wet"]]);
  made.handleTimer(NOW + 1999);
  assert.equal(made.take(), null);
  made.handleTimer(NOW + 2000);
  assert.deepEqual(bodies(made.take()).map((body) => hex(body).slice(0, 6)), ["f00d02"]);
  made.receive(frame("f00e0200"), NOW + 2000);
  made.handleTimer(NOW + 4000);
  made.receive(frame(`f00e0300${holder("03", "01", "lab/a")}`), NOW + 4000);
  assert.deepEqual(told(), ["departed lab/a withdrawn"], "what went and came meanwhile is not told");
  made.receive(frame("080703"), NOW + 4100); // DEPARTED
  assert.deepEqual(told(), ["departed lab/a goodbye"]);
  made.handleTimer(NOW + 6000);
  made.receive(frame(`f00e0400${holder("04", "01", "lab/a")}`), NOW + 6000);
  assert.deepEqual(told(), ["arrived lab/a"]);
  made.receive(frame("080004"), NOW + 6100); // RETRACT: perhaps for a moment
  assert.deepEqual(told(), []);
  made.take();
  made.handleTimer(NOW + 8099);
  assert.equal(made.take(), null);
  made.handleTimer(NOW + 8100);
  made.receive(frame("f00e0502"), NOW + 8100); // refused: asked again
  made.handleTimer(NOW + 10100);
  made.receive(frame("f00e0600"), NOW + 10100);
  assert.deepEqual(told(), ["departed lab/a lost"]);
  assert.equal(watch.reasons.size, 0);
  made.receive(frame("f00e0700"), NOW + 10100); // nobody asked
  made.ignore(watch);
  made.take();
  made.handleTimer(NOW + 20000);
  assert.deepEqual(bodies(made.take() ?? new Uint8Array(0)).filter((body) => hex(body).startsWith("f00d")), []);
});

test("an answer in parts: order, window, credit, its time, a part that is lost", () => {
  const ask = (window) => {
    const made = connection("open");
    const id = submit(made, "request", { timeoutMs: 5000, window, partMs: 5000 });
    made.take();
    made.receive(frame(`f0080001${E1}0e010000`), NOW);
    return { made, id, written: bodies(made.take()).map(hex) };
  };
  const kinds = (events) => events.map(({ type, status, code }) => [type, status, code]);
  const { made, id, written } = ask(4);
  assert.deepEqual(written, ["b504" + "02020004" + "01000101" + "8827" + "f6"], "REQUEST with STREAM");
  assert.deepEqual(
    ["d1010000f6", "d1010001f6"]
      .flatMap((part) => made.receive(frame(part), NOW))
      .map(({ type, id: of }) => [type, of]),
    [
      ["part", id],
      ["part", id],
    ],
  );
  made.consume(id, NOW);
  assert.equal(made.take(), null, "half of the window is not used yet");
  made.consume(id, NOW);
  made.consume(id, NOW); // no more have come
  assert.deepEqual(bodies(made.take()).map(hex), ["f004010006"], "PART_CREDIT");
  made.receive(frame("d1010002f6"), NOW + 4000);
  assert.deepEqual(kinds(made.handleTimer(NOW + 9000)), [], "what waits to be read is not late");
  assert.equal(made.take(), null);
  made.handleTimer(NOW + 31000);
  assert.deepEqual(bodies(made.take()).map(hex).slice(-1), ["f004010006"], "PART_CREDIT is repeated");
  made.consume(id, NOW + 31000);
  assert.deepEqual(kinds(made.handleTimer(NOW + 35000)), [], "its time begins when all that came is read");
  assert.deepEqual(kinds(made.receive(frame("f006010003"), NOW + 31000)), [["outcome", "ended", 0]]);
  for (const wrong of ["d1010001f6", "f006010001"]) {
    const other = ask(4).made;
    assert.deepEqual(kinds(other.receive(frame(wrong), NOW)), [["outcome", "undelivered", 11]], "PART_LOST");
    assert.deepEqual(bodies(other.take()).map(hex), ["f00101"], "CANCEL");
  }
  const narrow = ask(1).made;
  assert.equal(narrow.receive(frame("d1010000f6"), NOW).length, 1);
  assert.deepEqual(kinds(narrow.receive(frame("d1010001f6"), NOW)), [["outcome", "undelivered", 11]]);
  const late = ask(4).made;
  assert.deepEqual(kinds(late.handleTimer(NOW + 5000)), [["outcome", "timeout", 3]]);
  const single = ask(0).made; // did not ask for parts: what comes is none of it
  for (const stray of ["d1010000f6", "f006010000"])
    assert.deepEqual(kinds(single.receive(frame(stray), NOW)), []);
  assert.deepEqual(kinds(single.receive(frame("c101f6"), NOW)), [["outcome", "replied", 0]]);
});

test("our answers in parts: the window, room, a reader that is slow, and one that is gone", () => {
  const made = connection("open");
  made.register(E1, 2, "e1");
  made.take();
  const come = (words) => made.receive(frame(`b404020200${words}e807`), NOW)[0].request; // a window of 2
  const part = unhex("f6");
  const first = come(`02000a${E1}000107`);
  made.take();
  assert.ok(made.respondPart(first, part, 1, NOW) && made.respondPart(first, part, 1, NOW));
  assert.ok(!made.respondPart(first, part, 1, NOW), "the window of 2 is used up");
  assert.deepEqual(bodies(made.take()).map(hex), ["d1070000f6", "d1070001f6"]);
  assert.deepEqual(made.handleTimer(NOW + 1000), [], "who reads slowly is waited for");
  assert.deepEqual(
    made.receive(frame("f004070003"), NOW + 1000).map(({ type }) => type),
    ["room"],
  );
  assert.ok(made.respondPart(first, part, 1, NOW + 1000));
  made.respondEnd(first);
  assert.deepEqual(bodies(made.take()).map(hex), ["d1070002f6", "f006070003"], "END after 3");
  const second = come("020a000208");
  made.take();
  let room = false;
  made.room = () => room;
  assert.ok(!made.respondPart(second, part, 1, NOW));
  assert.ok(made.stalled());
  room = true;
  assert.deepEqual(
    made.resume(NOW).map(({ type }) => type),
    ["room"],
  );
  for (let count = 0; count < 2; count++) made.respondPart(second, part, 1, NOW);
  assert.ok(!made.respondPart(second, part, 1, NOW));
  assert.deepEqual(
    made.handleTimer(NOW + 120000).map(({ type }) => type),
    ["cancelled"],
    "of whom nothing is heard for 120 s",
  );
  assert.ok(made.respondPart(second, part, 1, NOW), "nobody waits for it");
});

// How many bytes are copied while something is done.
function copied(work) {
  const { set, slice } = Uint8Array.prototype;
  const typed = Object.getPrototypeOf(Uint8Array.prototype);
  let count = 0;
  const counted = (own) =>
    function (...args) {
      const result = own.apply(this, args);
      count += (result ?? args[0]).length;
      return result;
    };
  Object.assign(typed, { set: counted(set), slice: counted(slice) });
  try {
    work();
  } finally {
    Object.assign(typed, { set, slice });
  }
  return count;
}

test("what comes in small pieces costs as much as what comes in large ones", () => {
  const size = 60_000;
  const big = { ...hello(setup.own), frame_size_max: 65536, message_size_max: 1 << 20 };
  const made = new Connection(big, null, NOW);
  made.receive(frames.framed(frames.encodeHello({ ...big, dialled: true, node: "11".repeat(16) })), NOW);
  made.register(E1, 3, "e1");
  const raw = frames.framed(unhex(`900001${E1}0001` + "07".repeat(size)));
  let events = [];
  const cost = copied(() => raw.forEach((byte, at) => events.push(...made.receive(raw.subarray(at, at + 1), NOW))));
  assert.equal(events.length, 1);
  assert.equal(events[0].payload.length, size);
  assert.ok(cost < 8 * size, `${cost} bytes were copied`);
  const pieces = 300_000; // more than a function takes arguments
  const header = { kind: frames.PUBLISH, endpoint: E1, number: 2, cut: { partial: 0, size: pieces } };
  made.receive(frames.framed(frames.writeHeader(header, new frames.AliasWriter(127))), NOW);
  const more = unhex("03070009".repeat(1000));
  events = [];
  const all = copied(() => {
    for (let at = 0; at < pieces; at += 1000) events.push(...made.receive(more, NOW));
  });
  assert.equal(events[0]?.payload.length, pieces, made.closeText);
  assert.ok(events[0].payload.every((byte) => byte === 9));
  assert.ok(all < 8 * 4 * pieces, `${all} bytes were copied`);
  const strings = new Uint8Array(pieces + 2).fill(0x40, 1); // CBOR, of indefinite length: empty ones, then the end
  [strings[0], strings[pieces + 1]] = [0x5f, 0xff];
  assert.equal(decode(strings).length, 0);
});

test("more ids than numbers: what is written is what is read", () => {
  const writer = new frames.AliasWriter(5, ["aa".repeat(16)]);
  const reader = new frames.AliasReader(5, 16, ["aa".repeat(16)]);
  for (let round = 0; round < 500; round++) {
    const id = hex([(round * round) % 9]).repeat(16);
    assert.equal(reader.read(new Reader(Uint8Array.from(writer.write(id)))), id);
  }
  assert.deepEqual(writer.write("aa".repeat(16)), [1]);
});

test("silence: PING after one interval, the end after three, but never before what has come is read", () => {
  const quiet = (now) => {
    const made = new Connection({ ...hello(setup.own), keepalive_ms: 1000 }, null, NOW);
    made.receive(unhex(setup.states.open.feed), NOW);
    made.take();
    for (; made.nextDeadline() <= now;) made.handleTimer(made.nextDeadline());
    return made;
  };
  assert.equal(quiet(NOW + 999).take(), null);
  assert.deepEqual(bodies(quiet(NOW + 1000).take()).map(hex), ["0401"]);
  assert.equal(quiet(NOW + 3999).closeCode, -1);
  assert.equal(quiet(NOW + 4000).closeCode, 15);
  const told = quiet(NOW);
  told.receive(frame("41e0d403"), NOW); // SLEEP for a minute
  while (told.nextDeadline() < NOW + 61000) told.handleTimer(told.nextDeadline());
  assert.equal(told.take(), null, "a sleeper is not asked");
  const slept = quiet(NOW);
  slept.handleTimer(NOW + 60000); // a page that was not run for a minute
  assert.equal(slept.closeCode, -1);
  slept.receive(frame("0501"), NOW + 60010);
  slept.handleTimer(slept.nextDeadline());
  assert.equal(slept.closeCode, -1);
});

// The numbers of one direction, from node B to node A: as A reads them, and as B would write them.
function makeTables() {
  const a = setup.own.node + setup.own.incarnation;
  const b = connection("open").peer;
  return {
    aliases: new frames.AliasReader(127),
    nodes: new frames.AliasReader(16384, 20, [b, a]),
    aliasWriter: new frames.AliasWriter(127),
    nodeWriter: new frames.AliasWriter(16384, [b, a]),
  };
}

function checkFrame(vector, body, wanted, tables) {
  const reader = new Reader(body, 1);
  const same = (found, field) => {
    if (wanted[field] !== undefined) assert.deepEqual(found, wanted[field], `${vector.name}: ${field}`);
  };
  if (KINDS.includes(wanted.kind)) return checkMessage(vector, body, reader, wanted, tables, same);
  if (wanted.kind === "HELLO") {
    const found = frames.decodeHello(reader);
    for (const field of Object.keys(wanted)) {
      if (field !== "kind") same(field === "realm" ? Object.keys(REALMS)[found.realm] : found[field], field);
    }
    if (vector.canonical) assert.equal(hex(frames.encodeHello(found)), hex(body), vector.name);
  } else if (
    wanted.kind === "DIRECTORY" &&
    vector.canonical &&
    wanted.node.number === 1 &&
    !wanted.entries.some(({ gone }) => gone) // a last word, which a page has none of
  ) {
    const entries = wanted.entries.map((entry) => ({ ...entry, kind: HOLDERS.indexOf(entry.kind) }));
    const line = { ...wanted, realm: REALMS[wanted.realm], label: wanted.label ?? undefined, entries };
    assert.equal(hex(frames.encodeDirectory(line)), hex(body), vector.name);
  }
}

function checkMessage(vector, body, reader, wanted, tables, same) {
  const header = frames.readHeader(body[0], reader, tables.aliases, tables.nodes);
  const payload = reader.rest();
  for (const field of ["format", "endpoint", "id", "type", "cut"]) same(header[field], field);
  for (const field of ["seq", "index", "limit", "sent", "parts"]) same(header.number, field);
  same(header.code, "code");
  same(header.code, "reason");
  same(header.timeoutMs, "timeout_ms");
  same(header.window ?? 0, "stream");
  same(header.bestEffort ?? false, "best_effort");
  same(header.lane ?? 1, "lane");
  same(Object.keys(REALMS)[header.reach], "reach");
  same(header.name ?? "", "name");
  same(header.retain ?? 0, "retain");
  if (header.signal !== undefined) same(SIGNALS.slice(1)[header.signal - 1] ?? "UNKNOWN", "signal");
  assert.equal(header.routed, wanted.routing !== undefined, `${vector.name}: routed`);
  if (wanted.routing) {
    assert.deepEqual([header.realm, header.hops], [wanted.routing.realm, wanted.routing.hops], vector.name);
    for (const which of ["destination", "source"]) {
      assert.equal(
        header[which] && tables.nodes.ids.indexOf(header[which]),
        wanted.routing[which]?.number,
        `${vector.name}: ${which}`,
      );
    }
  }
  if (wanted.tree) assert.equal(tables.nodes.ids.indexOf(header.node), wanted.tree.number, vector.name);
  if (wanted.holders) checkHolders(vector, header.holders, wanted.holders, tables);
  if (wanted.skipped) return;
  if (wanted.kind !== "SIGNAL") assert.equal(hex(payload), wanted.payload, `${vector.name}: payload`);
  if (vector.canonical && !vector.redundant && !wanted.holders) {
    place(tables.aliasWriter, "type", header.type, wanted);
    place(tables.aliasWriter, "endpoint", header.endpoint, wanted); // last: it is bound first
    for (let number = 3; number < tables.nodes.ids.length; number++) placeNode(tables, number, body);
    const written = [...frames.writeHeader(header, tables.aliasWriter, tables.nodeWriter), ...payload];
    assert.equal(hex(written), hex(body), `${vector.name}: written differently`);
  }
}

function checkHolders(vector, found, wanted, tables) {
  assert.equal(found.length, wanted.length, vector.name);
  found.forEach((holder, at) => {
    const told = wanted[at];
    assert.equal(tables.nodes.ids.indexOf(holder.node), told.node.number, vector.name);
    assert.deepEqual(holder.labels, told.labels ?? [], `${vector.name}: labels`);
    if (told.endpoint) assert.equal(holder.endpoint, told.endpoint, vector.name);
    for (const field of ["realm", "metric", "credit", "cost", "name"])
      assert.equal(holder[field], told[field], `${vector.name}: ${field}`);
    assert.equal(HOLDERS[holder.kind], told.kind, vector.name);
  });
}

// Let the writer give, or have given, the number that the vector's author chose.
function place(writer, field, id, wanted) {
  const number = wanted[`${field}_alias`];
  if (number === undefined) return;
  if (wanted[`${field}_binds`]) {
    writer.numbers.delete(id);
    writer.next = number;
  } else writer.numbers.set(id, number);
}

function placeNode(tables, number, body) {
  const id = tables.nodes.ids[number];
  if (!id) return;
  if (hex(body).includes("00" + hex(varint(number)) + id)) {
    tables.nodeWriter.numbers.delete(id);
    tables.nodeWriter.next = number;
  } else tables.nodeWriter.numbers.set(id, number);
}
