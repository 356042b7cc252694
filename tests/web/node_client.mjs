// Scenarios of the client for Node beside Python programs: `node node_client.mjs SCENARIO [WORD...]`. Run by test_node.py.

import assert from "node:assert/strict";
import process from "node:process";

import { Bus, BusClosed, connect, LinkRefused, Undeliverable } from "../../src/busway/web/node/bus.js";

const [scenario, ...words] = process.argv.slice(2);
const PATIENCE = 60; // seconds, on a busy machine
const say = (line) => process.stdout.write(`${line}\n`);
const big = (size) => new Uint8Array(size).map((_, at) => at * 7 + (at >> 8));
/** Lines of standard input, one at a time. */
const lines = (async function* () {
  let text = "";
  for await (const chunk of process.stdin) {
    text += chunk;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n")) {
      yield text.slice(0, at);
      text = text.slice(at + 1);
    }
  }
})();
const told = async () => (await lines.next()).value;

const scenarios = {
  async "both ways"() {
    const bus = await connect({ label: "js", timeout: PATIENCE });
    const ups = [];
    let blob = big(0);
    bus.subscribe("py/down", (value) => ups.push(value));
    bus.serve("js/echo", (value) => value);
    bus.serve("js/count", function* (most) {
      for (let number = 0; number < most; number++) yield number;
    });
    bus.serve("js/blob", (bytes) => void (blob = bytes));
    assert.equal(await bus.request("py/upper", "hello", { ttl: PATIENCE, timeout: PATIENCE }), "HELLO");
    await bus.send("py/log", "first");
    await bus.send("py/log", "last", { confirm: true });
    const parts = [];
    for await (const part of bus.requestStream("py/count", 1000)) parts.push(part);
    assert.deepEqual(parts, Array.from({ length: 1000 }, (_, number) => number));
    const large = big(8 << 20);
    assert.equal(Buffer.compare(await bus.request("py/echo", large), large), 0);
    await assert.rejects(bus.request("py/file"), { reason: "NO_FILES", message: /it answers with files or regions, which/ });
    say("asked");
    assert.equal(await told(), "asked");
    assert.equal(Buffer.compare(blob, big(3 << 20)), 0);
    assert.deepEqual(ups, [1, 2, 3]);
    for (const number of [1, 2, 3]) assert.ok(bus.publish("js/up", number));
    say("published");
    await told();
    bus.close();
  },

  async floods() {
    const bus = await connect({ timeout: PATIENCE });
    for (let number = 0; number < 3000; number++) {
      await bus.room();
      assert.ok(bus.publish("js/flood", [number, "x".repeat(4000)]));
    }
    await bus.request("py/upper", "end"); // which comes behind them
    bus.close();
  },

  // Serves on, whichever program it is linked to.
  async "outlives its neighbour"() {
    const onState = ({ state, label }) => say(label ? `${state} ${label}` : state);
    const bus = await connect({ onState, timeout: PATIENCE });
    bus.serve("js/echo", (value) => value);
    const lost = bus.request("py/slow");
    await assert.rejects(lost, (error) => error instanceof Undeliverable && error.reason === "LOST_AFTER_SENDING");
    assert.equal(await bus.request("py/upper", "again", { ttl: PATIENCE, timeout: PATIENCE }), "AGAIN");
    say("again");
    await told();
    bus.close();
  },

  async "is interrupted"() {
    const bus = await connect({ timeout: PATIENCE });
    if (words[0] === "handled") process.once("SIGINT", () => bus.close());
    bus.serve("js/here", () => {
      say("asked");
      return new Promise(() => {});
    });
  },

  async "how far"() {
    const bus = await connect({ timeout: PATIENCE });
    bus.serve("js/near", () => "near", { realm: "userspace" });
    bus.serve("js/usual", () => "usual");
    bus.serve("js/wide", () => "wide", { realm: "global" });
    assert.throws(() => bus.serve("js/none", () => 0, { realm: "process" }), /userspace, localnet, global was expected/);
    bus.subscribe("js/listens", () => {});
    assert.throws(() => bus.subscribe("js/listens", () => {}, { realm: "global" }), /already, with realm localnet/);
    say("there");
    while ((await told()) === "publish") {
      bus.publish("js/news", "usual");
      bus.publish("js/news", "near", { realm: "userspace" });
      bus.publish("js/news", "wide", { realm: "global" });
    }
    bus.close();
  },

  async finds() {
    const bus = await connect({ timeout: PATIENCE, onState: ({ state, label }) => label && say(`${state} ${label}`) });
    await told();
    bus.close();
  },

  // A path that is given is the only one: its refusal counts.
  async "is refused"() {
    await assert.rejects(connect(words[0]), (error) => error instanceof LinkRefused && /version/.test(error.message));
  },

  async "nobody there"() {
    const reason = (pattern) => (error) => error instanceof BusClosed && (pattern.test(error.message) || assert.fail(error));
    await assert.rejects(connect({ timeout: 0.3 }), reason(new RegExp(words[0])));
    await assert.rejects(connect("ipc:///tmp/none.sock", { timeout: 0.3 }), reason(/mode 0\d+, expected 0700/));
  },

  async "options that are none"() {
    assert.throws(() => new Bus({ token: "x" }), /no option token/);
    assert.throws(() => new Bus("ws://127.0.0.1:1"), /ipc:\/\/\/path of a socket was expected/);
    assert.throws(() => new Bus({ realm: "process" }), RangeError);
    assert.throws(() => new Bus({ busname: "x" }), /no option busname/);
    await assert.rejects(connect({ timeout: 0 }), RangeError);
    process.env.BUSWAY_DIR = "some/where";
    assert.throws(() => new Bus(), /must be an absolute path, not some\/where/);
  },
};

await scenarios[scenario]();
