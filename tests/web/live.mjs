// Scenarios of the JavaScript client against a real bus: `node live.mjs SCENARIO URL`. Run by test_live.py, and by
// test_node.py with the URL of a Unix socket.

import assert from "node:assert/strict";

const [scenario, url] = process.argv.slice(2);
const client = url.startsWith("ipc:") ? "node/bus.js" : "busway.js";
const { Bus, BusClosed, BusError, connect, LinkRefused, RemoteError, RequestTimeout, Undeliverable, uuidOf, where } =
  await import(`../../src/busway/web/${client}`);
const TOKEN = "8c1f0e5bd2a94763b0d5e7f1a2c34698"; // the site's, where it has one
const within = async (condition, what, seconds = 60) => {
  for (const end = performance.now() + seconds * 1000; !condition();) {
    assert.ok(performance.now() < end, `not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
const say = (line) => process.stdout.write(`${line}\n`);

const scenarios = {
  async "has a name"() {
    const bus = await connect(url, { label: "page-1" });
    bus.serve("who", () => "page-1");
    say("there");
    const is = (code) => (error) => error.code === code || error.message.includes("is called 'page-1'");
    await assert.rejects(connect(url, { label: "page-1", timeout: 1 }), is(28));
    await assert.rejects(connect(url, { label: "page-0" }), (error) => error instanceof LinkRefused && error.code === 29);
    const other = await connect(`${url}?name=page-2`);
    assert.deepEqual((await bus.request("t/names")).sort(), ["page-1", "page-2"]);
    other.close();
    bus.close();
  },

  async asks() {
    const bus = await connect(url);
    for (const value of [null, true, 1.5, -3, 2n ** 63n, "ö℃", [1, [2]], { a: { b: [] } }]) {
      assert.deepEqual(await bus.request("t/echo", value), value);
    }
    assert.deepEqual(await bus.request("t/echo", new Uint8Array([1, 2, 3])), new Uint8Array([1, 2, 3]));
    const large = new Uint8Array(1_000_000).map((_, at) => at * 7);
    assert.deepEqual(await bus.request("t/echo", large), large);
    const many = await Promise.all(
      Array.from({ length: 3000 }, (_, number) => bus.request("t/echo", number)),
    );
    assert.deepEqual(
      many,
      Array.from({ length: 3000 }, (_, number) => number),
    );
    bus.close();
  },

  async "calls a service"() {
    const bus = await connect(url);
    const call = (method, given) => bus.request("lab/pump", [method, given]);
    const heard = new Promise((resolve) => bus.subscribe("lab/pump/overheated", resolve));
    assert.deepEqual(await call("set_speed", { rpm: 300, ramp: 1 }), { rpm: 300, ramp: 1 });
    const angles = [];
    for await (const angle of bus.requestStream("lab/pump", ["scan", { step: 1.5 }])) angles.push(angle);
    assert.deepEqual(angles, [0, 1.5, 3]);
    const tooFast = (error) =>
      error instanceof RemoteError && error.code === 4294901761 && error.message.startsWith('TooFast {"limit": 3000');
    await assert.rejects(call("set_speed", { rpm: 4000 }), tooFast);
    await assert.rejects(call("halt", {}), (error) => error.code === 4294901762);
    await assert.rejects(call("set_speed", { rpm: "x" }), (error) => error.code === 4294901763);
    const told = await call("busway.describe", {});
    assert.deepEqual(Object.keys(told.methods), ["set_speed", "scan", "fail", "nap"]);
    await call("set_speed", { rpm: -7 });
    assert.equal(await heard, -7);
    bus.close();
  },

  async "numbers that nobody can guess"() {
    const bus = await connect(url);
    const asked = Array.from({ length: 64 }, (_, number) => bus.request("t/echo", number));
    const ids = [...bus._waiting.keys()];
    await Promise.all(asked);
    bus.close();
    assert.equal(ids.length, 64);
    assert.ok(Math.max(...ids) < 2 ** 28);
    assert.ok(Math.max(...ids) - Math.min(...ids) > 2 ** 24, `these are no random numbers: ${ids}`);
  },

  async "no permission"() {
    const bus = await connect(url);
    const denied = (error) => error instanceof Undeliverable && error.code === 15 && error.reason === "NO_PERMISSION";
    await assert.rejects(bus.request("t/echo", 1), denied);
    await assert.rejects(bus.send("t/echo", 1, { confirm: true }), denied);
    assert.equal(await bus.request("t/cancelled"), 0);
    bus.close();
  },

  async failures() {
    const bus = await connect(url);
    const fails = (promise, kind, code) =>
      assert.rejects(promise, (error) => error instanceof kind && error.code === code);
    await fails(bus.request("t/nobody"), Undeliverable, 1);
    await fails(bus.request("t/near"), Undeliverable, 1); // realm localnet: not over a WebSocket
    await fails(bus.request("t/refuses"), RemoteError, 300);
    await fails(bus.request("t/breaks"), RemoteError, 64);
    await fails(bus.request("t/slow", null, { timeout: 0.2 }), RequestTimeout, 3);
    await fails(bus.send("t/down", 1), Undeliverable, 7); // a broadcast
    const abort = new AbortController();
    const called = bus.request("t/slow", null, { signal: abort.signal });
    setTimeout(() => abort.abort(), 50);
    await assert.rejects(called, { name: "AbortError" });
    assert.equal(await bus.request("t/cancelled"), 2); // the one that was too slow, and the one called off
    assert.throws(() => bus.request("t/nobody", null, { timeout: 0 }), RangeError);
    assert.throws(() => bus.request("", null), RangeError);
    const wrong = { timout: 2, timeout: "2", ttl: "1", node: 7, signal: 1 };
    for (const [name, value] of Object.entries(wrong))
      assert.throws(() => bus.request("t/echo", 1, { [name]: value }), TypeError, name);
    for (const [name, value] of Object.entries({ timeout: Infinity, ttl: -1, timeout_: 3e6 }))
      assert.throws(() => bus.request("t/echo", 1, { [name.replace("_", "")]: value }), RangeError, name);
    await assert.rejects(bus.send("t/echo", 1, { confirm: 1 }), TypeError);
    await assert.rejects(bus.send("t/echo", 1, { signal: new AbortController().signal }), /no option signal/);
    await assert.rejects(bus.requestStream("t/count", 1, { windw: 1 }).next(), /no option windw: .*window/);
    assert.throws(() => bus.subscribe("t/down", () => {}, { polcy: "latest" }), /no option polcy/);
    assert.throws(() => new Bus(url, { tokn: "x" }), /no option tokn/);
    assert.throws(() => new Bus(url, { keepalive: "10" }), TypeError);
    assert.equal(await bus.request("t/echo", 1, { timeout: undefined }), 1, "as if it were not given");
    assert.throws(() => bus.subscribe("t/down", "no function"), TypeError);
    assert.throws(() => new Bus("http://127.0.0.1"), TypeError);
    assert.throws(() => new Bus(url, { token: 123 }), /a token is text or null, not a number/);
  },

  async streams() {
    const bus = await connect(url);
    const read = async (stream, most = Infinity) => {
      const parts = [];
      for await (const part of stream) if (parts.push(part) === most) break;
      return parts;
    };
    const count = (most) => Array.from({ length: most }, (_, number) => number);
    assert.deepEqual(await read(bus.requestStream("t/count", 5000)), count(5000));
    assert.deepEqual(await read(bus.requestStream("t/count", 20, { window: 1 })), count(20));
    assert.deepEqual(await read(bus.requestStream("t/count", 0)), []);
    assert.deepEqual(await read(bus.requestStream("t/echo", "one")), ["one"], "a plain reply is one part");
    const slow = [];
    for await (const part of bus.requestStream("t/count", 10, { window: 2, timeout: 3 })) {
      slow.push(part);
      if (part < 1) await new Promise((resolve) => setTimeout(resolve, 4000)); // the wait is the reader's own
    }
    assert.deepEqual(slow, count(10));
    assert.deepEqual(await read(bus.requestStream("t/count", 1e9), 3), count(3), "left early");
    const fails = (promise, kind, code) =>
      assert.rejects(promise, (error) => error instanceof kind && error.code === code);
    const some = [];
    await fails(
      (async () => {
        for await (const part of bus.requestStream("t/three")) some.push(part);
      })(),
      RemoteError,
      301,
    );
    assert.deepEqual(some, [0, 1, 2], "what came before the failure is read first");
    await fails(read(bus.requestStream("t/nobody")), Undeliverable, 1);
    await fails(read(bus.requestStream("t/slow", null, { timeout: 0.2 })), RequestTimeout, 3);
    await fails(bus.request("t/count", 3), Undeliverable, 10); // it answers in parts only
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 50);
    await assert.rejects(read(bus.requestStream("t/slow", null, { signal: abort.signal })), {
      name: "AbortError",
    });
    await assert.rejects(read(bus.requestStream("t/count", 1, { window: 0 })), RangeError);
    say("asked");
    let left = 0;
    bus.serve("js/count", async function* (most) {
      try {
        for (let number = 0; number < most; number++) yield number;
      } finally {
        left++;
      }
    });
    bus.serve("js/breaks", async function* () {
      yield 1;
      throw new RemoteError("no more today", 778);
    });
    bus.serve("js/plainly", function* (most) {
      for (let number = 0; number < most; number++) yield number;
    });
    bus.serve("js/left", async () => {
      await within(() => left >= 2, "two handlers have ended");
      return left;
    });
    await bus.request("t/wait");
    const lost = bus.requestStream("t/count", 1e9);
    await lost.next();
    bus.close();
    await assert.rejects(read(lost), BusClosed);
  },

  async "waits for a session"() {
    const bus = new Bus(url); // not connected yet: what is asked waits, and its time is then the request's own
    await assert.rejects(bus.request("t/slow", null, { timeout: 3 }), RequestTimeout);
    const parts = [];
    const again = new Bus(url);
    for await (const part of again.requestStream("t/slowly", 5, { timeout: 6 })) parts.push(part);
    assert.deepEqual(parts, [0, 1, 2, 3, 4], "each part has its time, also where the first waited for a session");
    bus.close();
    again.close();
  },

  async sends() {
    const bus = await connect(url);
    for (let number = 0; number < 2000; number++) await bus.send("t/log", number);
    await bus.send("t/log", "last", { confirm: true });
    const late = bus.send("t/late", "hello", { ttl: 10, confirm: true });
    say("waiting");
    await late;
    bus.close();
  },

  async listens() {
    const bus = await connect(url);
    const came = [];
    const first = bus.subscribe("t/down", (value, message) => came.push([value, message.missed]));
    bus.subscribe("t/down", () => {});
    await within(() => came.length >= 20, "20 broadcasts");
    came.forEach(([value, missed], at) =>
      assert.deepEqual([value.number, missed], [came[0][0].number + at, 0]),
    );
    first.close();
    const so_far = came.length;
    for (let number = 0; number < 100; number++) {
      assert.ok(bus.publish("t/up", { number }));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.equal(came.length, so_far);
    say("published");
    await bus.request("t/wait");
    bus.close();
  },

  async "closes in the midst"() {
    const bus = await connect(url);
    let came = 0;
    const subscription = bus.subscribe("t/burst", () => {
      came++;
      subscription.close();
    });
    const service = bus.serve("js/once", () => service.close());
    say("listening");
    await bus.request("t/wait"); // whose answer comes with what nobody here wants any more
    assert.equal(came, 1);
    bus.close();
  },

  async latest() {
    const bus = await connect(url);
    const every = [];
    const newest = [];
    const complaints = [];
    console.error = (error) => complaints.push(error);
    let goOn;
    const atWork = new Promise((resolve) => (goOn = resolve));
    bus.subscribe("t/now", (value) => every.push(value));
    const draw = async ({ from, number }, { missed, source }) => {
      newest.push({ from, number, missed, source });
      await atWork;
      if (newest.length === 2) throw new Error("only once");
    };
    const subscription = bus.subscribe("t/now", draw, { policy: "latest" });
    say("listening");
    await within(() => newest.length, "the first");
    say("at work");
    await within(() => every.length === 200, "all of both origins");
    assert.equal(newest.length, 1, "one at a time");
    goOn();
    await within(() => newest.length === 3, "the newest of each");
    const seen = newest.map(({ from, number, missed }) => [from, number, missed]);
    assert.deepEqual([...seen.slice(0, 1), ...seen.slice(1).sort()], [
      ["site", 0, 0],
      ["other", 99, 99],
      ["site", 99, 98],
    ]);
    assert.equal(new Set(newest.map(({ source }) => source)).size, 2);
    assert.deepEqual(complaints.map(String), ["Error: only once"], "what it throws ends nothing");
    say("drawn");
    await within(() => newest.length === 4, "the next");
    assert.deepEqual([newest[3].number, newest[3].missed], [100, 0]);
    let closed = 0;
    const other = bus.subscribe("t/now", () => (closed++, new Promise(() => {})), { policy: "latest" });
    say("again");
    await within(() => closed === 1 && every.length === 203, "one at work, and one that waits");
    other.close();
    subscription.close();
    await bus.request("t/wait");
    assert.equal(closed, 1);
    let began = 0;
    const rest = () => new Promise((resolve) => setTimeout(resolve, 50, (began += 1)));
    bus.subscribe("t/down", rest, { policy: "latest" });
    await within(() => began >= 2, "broadcasts");
    for (const policy of ["refuse", "drop_oldest", "drop_newest", null, 3])
      assert.throws(() => bus.subscribe("t/now", () => {}, { policy }), /policy "latest" or none was expected/);
    await rest(); // one waits again
    const before = began;
    bus.close();
    await rest();
    assert.equal(began, before + 1, "after the end none but this one");
  },

  async floods() {
    const bus = new Bus(url);
    await bus.room(); // until there is a connection
    let waits = 0;
    for (let number = 0; number < 8000; number++) {
      let passed = false; // a turn of the loop, and with it what the socket could take
      setImmediate(() => (passed = true));
      await bus.room();
      if (passed) waits++;
      assert.ok(bus.publish("t/flood", { number, ballast: new Uint8Array(1000) }));
    }
    assert.ok(waits, "it is more than the socket takes at once");
    await bus.request("t/wait");
    bus.close();
    await assert.rejects(bus.room(), BusClosed);
  },

  async "names like patterns"() {
    const warned = [];
    console.warn = (text) => warned.push(text);
    const bus = await connect(url);
    for (const name of ["lab/#", "lab/+/x", "a.>"]) bus.subscribe(name, () => {});
    bus.subscribe("lab/c#", () => {});
    assert.equal(warned.length, 3);
    assert.match(warned[0], /"lab\/#" is the name of one endpoint/);
    const { close } = bus.subscribe("lab/*/**", () => {});
    close();
    for (const odd of ["lab.*", "lab/a*", "*a", "lab/***"])
      assert.throws(() => bus.subscribe(odd, () => {}), { name: "RangeError", message: /a \* within a level/ });
    const elsewhere = [
      () => bus.publish("lab/*", 1),
      () => bus.serve("**", () => {}),
      () => bus.request("lab/*/x", 1),
      () => bus.requestStream("lab/*").next(),
      () => bus.send("lab/**", 1),
    ];
    for (const call of elsewhere)
      await assert.rejects(async () => call(), { name: "RangeError", message: /is a pattern, to subscribe to/ });
    assert.equal(warned.length, 3);
    bus.close();
  },

  async "labels and priorities that are none"() {
    for (const labels of [["ä".repeat(17)], [""], "abcdefghi".split("")])
      assert.throws(() => new Bus(url, { labels }), { name: "RangeError", message: /at most 8 were expected/ });
    for (const labels of ["lab", [3], 5])
      assert.throws(() => new Bus(url, { labels }), TypeError, labels);
    const bus = await connect(url, { labels: ["page"] });
    bus.subscribe("t/labelled", () => {}, { labels: new Set(["chart"]) });
    bus.subscribe("t/labelled", () => {}, { labels: ["page", "chart"] });
    assert.throws(() => bus.subscribe("t/labelled", () => {}, { labels: ["table"] }), /already, with other labels/);
    await assert.rejects(bus.send("t/echo", 1, { priority: "soon" }), /one of low, normal, high, urgent/);
    assert.throws(() => bus.publish("t/down", 1, { priority: "soon" }), RangeError);
    bus.close();
  },

  async "families of names, labels, priorities"() {
    const bus = await connect(url, { labels: ["page"] });
    const came = [];
    bus.subscribe("t/*/door", (payload, { name, endpoint, priority }) => came.push([payload, name, endpoint, priority]));
    bus.subscribe("t/1/door", (payload, { name }) => came.push([payload, name]));
    bus.serve("js/labelled", (value, { priority }) => priority, { labels: ["door"] });
    say("listening");
    await within(() => came.length === 4, "what was published");
    assert.deepEqual(came.filter(({ length }) => length === 2), [["open", "t/1/door"]]);
    assert.deepEqual(came.filter(({ length }) => length === 4).sort(), [
      ["open", "t/1/door", "t/*/door", "normal"],
      ["shut", "t/2/door", "t/*/door", "urgent"],
      ["shut", "t/3/door", "t/*/door", "normal"],
    ]);
    for (const priority of ["low", "normal", "high", "urgent"])
      assert.equal(await bus.request("t/priority", null, { priority }), priority);
    await bus.send("t/taken", "now", { priority: "urgent", confirm: true });
    for (const value of [1, 2]) assert.ok(bus.publish("up/1/x", value));
    say("asked");
    await within(() => bus.state === "closed" || came.length > 4, "the end");
    bus.close();
  },

  async "last values"() {
    const bus = await connect(url);
    const came = [];
    const take = (tag) => (payload, { name, retained }) => came.push([tag, payload, name, retained].join(" "));
    const told = async (...lines) => {
      await within(() => came.length >= lines.length, lines);
      assert.deepEqual(came.splice(0), lines);
    };
    const one = bus.subscribe("mode/1", take("one"));
    await told("one heating mode/1 true");
    const family = bus.subscribe("mode/*", take("family"));
    await within(() => came.length >= 2, "both of the family");
    assert.deepEqual(came.splice(0).sort(), ["family heating mode/1 true", "family idle mode/2 true"]);
    bus.subscribe("mode/1", take("again"));
    await told("again heating mode/1 true");
    one.close();
    say("subscribed");
    await within(() => came.length >= 2, "a newer one");
    assert.deepEqual(came.splice(0).sort(), ["again off mode/1 false", "family off mode/1 false"]);
    say("newer");
    await within(() => bus._session.lasts.values.size && !bus._session.lasts.of(uuidOf("mode/1")).length, "it is cleared");
    bus.subscribe("mode/1", take("late"));
    family.close();
    bus.subscribe("mode/*", take("anew"));
    await told("anew idle mode/2 true");
    bus.close();
  },

  async "who is there"() {
    const bus = new Bus(url);
    const left = new AbortController();
    const seen = [];
    const looking = (async () => {
      for await (const { what, name = "", reason = "", labels = [] } of bus.presence("hall/**", { signal: left.signal }))
        seen.push([what, name, reason, ...labels].join(" ").trim());
    })();
    const told = async (...lines) => {
      await within(() => seen.length >= lines.length, lines);
      assert.deepEqual(seen.splice(0), lines);
    };
    await told("present hall/1", "complete");
    say("looking");
    await told("arrived hall/2");
    say("arrived");
    await told("changed hall/2  wet");
    say("changed");
    await told("departed hall/1 withdrawn");
    say("withdrawn");
    await told("arrived hall/3");
    say("another");
    await told("departed hall/3 goodbye");
    left.abort();
    await looking;
    await assert.rejects(bus.presence("hall/*x").next(), RangeError);
    const closing = bus.presence("nothing/*");
    const whole = await closing.next();
    assert.deepEqual(whole.value, { what: "complete" });
    setTimeout(() => bus.close(), 10);
    await assert.rejects(closing.next(), BusClosed);
    say("closed");
  },

  async "selects by labels"() {
    const bus = await connect(url);
    const renderer = where("renderer");
    assert.equal(`${renderer.and(where("codec").not()).or(where.name("a b/*"))}`, '(renderer and (not codec)) or name:"a b/*"');
    const all = async (selector) => {
      const came = [];
      for await (const { name, value, error } of bus.requestAll(selector, 4)) came.push([name, value ?? error.reason]);
      return came.sort();
    };
    assert.deepEqual(await all(renderer), [["render/1", 8], ["render/2", 12]]);
    assert.deepEqual(await all(renderer.and(where("codec").not())), [["render/1", 8]]);
    assert.deepEqual(await all(where.name("render/2").or(where("nix"))), [["render/2", 12]]);
    assert.equal(await bus.request(where("renderer", "codec"), 5), 15);
    const turns = await Promise.all([1, 2, 3, 4].map(() => bus.request(where.name("twin/*"))));
    assert.deepEqual(turns.sort(), ["twin/1", "twin/1", "twin/2", "twin/2"]);
    await bus.request("t/close"); // twin/1, of which the page has heard
    const others = [await bus.request(where.name("twin/*")), await bus.request(where.name("twin/*"))];
    assert.deepEqual(others, ["twin/2", "twin/2"]);
    assert.equal(await bus.send(where("box"), "one", { confirm: true }), undefined);
    const copies = await bus.send(where("box"), "each", { to: "all", confirm: true });
    assert.deepEqual(copies.map(({ name, error }) => [name, error]).sort(), [["box/1", undefined], ["box/2", undefined]]);
    const left = new AbortController();
    const seen = bus.presence(where("box"), { signal: left.signal });
    assert.equal((await seen.next()).value.name.slice(0, 4), "box/");
    left.abort();
    await seen.return();
    await assert.rejects(bus.request(where("nix")), { reason: "NO_ENDPOINT", message: /^"nix" did not take it/ });
    const late = bus.request(where("late"), 3, { ttl: 30 });
    say("waiting");
    assert.equal(await late, 6);
    await assert.rejects(bus.requestAll("render/1").next(), /a selector was expected/);
    await assert.rejects(bus.send("render/1", 1, { to: "all" }), /a selector was expected/);
    await assert.rejects(bus.send(renderer, 1, { to: "each" }), RangeError);
    await assert.rejects(bus.request(renderer, 1, { node: bus.node }), /picks the node itself/);
    assert.throws(() => where(), TypeError);
    assert.throws(() => where("x".repeat(33)), RangeError);
    assert.throws(() => where.name("a*"), RangeError);
    assert.throws(() => renderer.and("codec"), TypeError);
    assert.throws(() => Array(64).fill("x").reduce((all, label) => all.and(where(label)), renderer), /at most 64/);
    const gone = new AbortController();
    const waits = bus.request(where("nobody"), 1, { ttl: 60, signal: gone.signal });
    gone.abort();
    await assert.rejects(waits, { name: "AbortError" });
    const closing = bus.request(where("nobody"), 1, { ttl: 60 });
    bus.close();
    await assert.rejects(closing, BusClosed);
    await assert.rejects(bus.request(renderer), BusClosed);
  },

  async "asks for a last value"() {
    const bus = await connect(url);
    const { value, name, retained } = await bus.last("mode/1", { timeout: 30 });
    assert.deepEqual([value, name, retained], ["idle", "mode/1", true]);
    assert.equal((await bus.last("mode/1", { timeout: 30 })).value, "idle"); // and again
    await assert.rejects(bus.last("mode/none", { timeout: 0.2 }), RequestTimeout);
    assert.throws(() => bus.last("mode/*"), RangeError);
    const { close } = bus.serve("mode/here", () => 0);
    await assert.rejects(bus.last("mode/here", { timeout: 0.01 }), BusError);
    close();
    await new Promise((resolve) => setTimeout(resolve, 100)); // nothing of it is left that could fail
    bus.close();
  },

  async serves() {
    const bus = await connect(url);
    let aborted = 0;
    bus.serve("js/upper", (text) => text.toUpperCase());
    bus.serve(
      "js/slow",
      (_, { signal }) =>
        new Promise((resolve) => signal.addEventListener("abort", () => resolve((aborted += 1)))),
    );
    bus.serve("js/refuses", () => {
      throw new RemoteError("not today", 777);
    });
    bus.serve("js/breaks", () => undefined.x);
    const taken = [];
    bus.serve("js/log", (value) => void taken.push(value));
    await bus.request("t/wait");
    assert.equal(aborted, 1);
    assert.deepEqual(
      taken,
      Array.from({ length: taken.length }, (_, number) => number),
    );
    assert.equal(taken.length, 1000);
    bus.close();
    await assert.rejects(bus.request("t/echo", 1), BusClosed);
  },

  async token() {
    const bus = await connect(url, { token: TOKEN });
    assert.equal(await bus.request("t/echo", "in"), "in");
    const large = new Uint8Array(1_000_000).map((_, at) => at * 7);
    assert.deepEqual(await bus.request("t/echo", large), large);
    const many = Array.from({ length: 1000 }, (_, number) => number);
    assert.deepEqual(await Promise.all(many.map((number) => bus.request("t/echo", number))), many);
    bus.close();
    const refused = (error) => error instanceof LinkRefused && error.code === 7 && /both sides the same/.test(error.message);
    await assert.rejects(connect(url, { token: "wrong" }), refused);
    await assert.rejects(connect(url, { token: TOKEN, bus: "other" }), refused);
    await assert.rejects(connect(url), refused);
  },

  // Somebody on the way changes bytes, and sometimes breaks the connection.
  async "through the middle"() {
    let connections = 0;
    const onState = ({ state }) => (connections += state === "connected");
    const bus = new Bus(url, { token: TOKEN, backoff: { first: 0.01, most: 0.05 }, onState });
    const came = [];
    bus.subscribe("t/down", ({ number, text }) => came.push([number, text]));
    const text = "a".repeat(500);
    for (let number = 0; connections < 10 || came.length <= 20; number++) {
      const answer = await bus.request("t/echo", { number, text }, { timeout: 60 }).catch((error) => error);
      if (answer instanceof Error) assert.ok(answer instanceof Undeliverable, answer.stack);
      else assert.deepEqual(answer, { number, text });
    }
    bus.close();
    came.forEach(([number, told], at) => {
      assert.equal(told, undefined);
      if (at) assert.ok(number > came[at - 1][0], `${number} after ${came[at - 1][0]}`);
    });
  },

  async "another bus's reason"() {
    const said = [];
    const warn = console.warn;
    console.warn = (text) => said.push(text);
    const bus = new Bus(url, { bus: "elsewhere" });
    await assert.rejects(bus.opened, LinkRefused);
    const why = (error) => error instanceof BusClosed && error.code === 3 && /closed: .* refused: .*bus/.test(error.message);
    await assert.rejects(bus.request("t/echo", 1), why);
    await assert.rejects(bus.room(), why);
    console.warn = warn;
    assert.equal(said.length, 1);
    assert.match(said[0], /refused: .*bus/);
  },

  async "a token where none is asked for"() {
    await assert.rejects(
      connect(url, { token: TOKEN }),
      (error) => error instanceof LinkRefused && error.code === 27 && /takes no token/.test(error.message),
    );
  },

  async jobs() {
    const bus = await connect(url);
    const ask = (_, number) => bus.request("t/job", number, { timeout: 12 });
    const workers = await Promise.all(Array.from({ length: 60 }, ask));
    assert.equal(workers.filter((worker) => worker === "slow").length, 1);
    bus.close();
  },

  async "another bus"() {
    await assert.rejects(
      connect(url, { bus: "other" }),
      (error) => error instanceof LinkRefused && /default.*other|other.*default/.test(error.message),
    );
  },

  async "comes back"() {
    const states = [];
    const peers = [];
    const bus = new Bus(url, {
      backoff: { first: 0.05, most: 0.2 },
      onState: ({ state, peer, label }) => {
        states.push(state);
        if (state === "connected") peers.push([peer, label]);
      },
    });
    const came = [];
    const sources = new Set();
    bus.subscribe("t/down", ({ number }, { source }) => {
      came.push(number);
      sources.add(source);
    });
    bus.serve("js/upper", (text) => text.toUpperCase());
    await bus.opened;
    await within(() => came.length > 3, "broadcasts");
    say("listening");
    const lost = bus.request("t/slow");
    await assert.rejects(lost, (error) => error instanceof Undeliverable && error.reason === "BUS_CLOSED");
    await within(() => bus.state === "reconnecting", "the loss is seen");
    const waits = bus.request("t/echo", "later", { timeout: 60 }); // asked without a link, answered by the next
    const before = came.length;
    say("lost");
    assert.equal(await waits, "later");
    await within(() => came.length > before + 3, "broadcasts again");
    await bus.request("t/wait");
    bus.close();
    assert.deepEqual(
      [states[0], states.at(-1), states.filter((state) => state === "connected").length],
      ["connected", "closed", 2],
    );
    assert.ok(states.includes("reconnecting"));
    assert.deepEqual(
      peers,
      [...sources].map((source, at) => [source, ["site", "site again"][at]]),
      "who is at the other end, by id and label",
    );
  },
};

await scenarios[scenario]();
process.exit(0);
