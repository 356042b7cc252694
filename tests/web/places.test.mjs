// Directories and sockets that a Node program trusts, and those that it does not. Run by test_node.py.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { Finder } from "../../src/busway/web/node/finder.js";
import { objectionTo, objectionToSocket, places, sockets } from "../../src/busway/web/node/places.js";

const BUS = "37a8eec1ce19687d"; // of "default"
const home = mkdtempSync(join(tmpdir(), "bw-"));
const uid = process.geteuid();
const servers = [];

after(() => {
  for (const server of servers) server.close();
  rmSync(home, { recursive: true });
});

const folder = (...names) => {
  const path = join(home, ...names);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
};

async function socket(directory, name) {
  const path = join(directory, name);
  const server = net.createServer();
  servers.push(server);
  await new Promise((resolve) => server.listen(join(home, "s"), resolve)); // short, whatever it is called then
  renameSync(join(home, "s"), path);
  return path;
}

test("the places follow from the user, or are chosen", () => {
  const run = folder("run");
  const temporary = folder("tmp");
  const usual = join(temporary, `busway-${uid}`);
  const at = (env = {}) => places({ env, run, temporary });
  assert.deepEqual(at(), [usual]);
  folder("run", `${uid}`);
  assert.deepEqual(at(), [join(run, `${uid}`, "busway"), usual]);
  const spare = folder("tmp", `busway-${uid}-0123456789abcdef`);
  for (const strange of ["-0123", "-0123456789ABCDEF", "x0123456789abcdef", "-0123456789abcdef0"]) folder("tmp", `busway-${uid}${strange}`);
  assert.deepEqual(at().slice(1), [usual, spare]);
  assert.deepEqual(at({ BUSWAY_DIR: "/some//where/" }), ["/some/where/"]);
  assert.deepEqual(at({ BUSWAY_DIR: "" }).length, 3);
  assert.throws(() => at({ BUSWAY_DIR: "where" }), RangeError);
  assert.throws(() => places({ uid: -1 }), /no Unix sockets of Busway on this system/);
});

test("a directory that others could write to has nobody in it, and says what to do", async () => {
  const parent = folder("places");
  const bus = folder("places", BUS);
  const path = await socket(bus, `${"0a".repeat(16)}.sock`);
  const found = () => sockets("default", [parent]);
  assert.deepEqual(found(), { paths: [path], objections: [] });
  assert.deepEqual(sockets("other", [parent, join(home, "none")]), { paths: [], objections: [] });
  for (const each of [bus, parent]) {
    for (const mode of [0o750, 0o701, 0o777]) {
      chmodSync(each, mode);
      const objection = `${each} has mode 0${mode.toString(8)}, expected 0700: run \`chmod 700 ${each}\``;
      assert.deepEqual(found(), { paths: [], objections: [objection] });
      if (each === bus) assert.equal(objectionToSocket(path), objection);
    }
    chmodSync(each, 0o700);
  }
  chmodSync(parent, 0o1777);
  assert.match(objectionTo(parent), /has mode 01777, expected 0700: others use it, too, so choose a directory of your own \(BUSWAY_DIR\)$/);
  chmodSync(parent, 0o700);
  assert.match(objectionTo(parent, uid + 1), /belongs to user \d+ and you are user \d+: have it removed/);
  symlinkSync(parent, join(home, "link"));
  assert.match(objectionTo(join(home, "link")), /is not a directory: remove it/);
  assert.deepEqual(sockets("default", [join(home, "link"), parent]).paths, [path], "others count all the same");
});

test("what is no socket of ours is nobody", async () => {
  const parent = folder("strange");
  const bus = folder("strange", BUS);
  const path = await socket(bus, `${"0b".repeat(16)}.sock`);
  writeFileSync(join(bus, `${"0c".repeat(16)}.sock`), "");
  symlinkSync(path, join(bus, `${"0d".repeat(16)}.sock`));
  for (const name of ["0b.sock", `${"0e".repeat(16)}.tmp`, `${"0f".repeat(16)}.lock`]) writeFileSync(join(bus, name), "");
  assert.deepEqual(sockets("default", [parent]).paths, [path]);
  assert.match(objectionToSocket(path, uid + 1), /belongs to user/);
  assert.match(objectionToSocket(join(bus, "none.sock")), /is not there/);
  assert.match(objectionToSocket(join(bus, `${"0d".repeat(16)}.sock`)), /is not a socket of user/);
  assert.match(objectionToSocket(join(bus, "x".repeat(99))), /may have 99 bytes, .* choose a shorter BUSWAY_DIR/);
});

test("all are asked in turn, with more patience in each round; the last one as long as a HELLO may take", async () => {
  process.env.BUSWAY_DIR = folder("finder");
  const bus = folder("finder", BUS);
  const paths = [];
  for (const name of ["1a", "1b", "1c"]) paths.push(await socket(bus, `${name.repeat(16)}.sock`));
  const finder = new Finder("default", "");
  for (const patience of [250, 500, 1000, 2000, 4000, 5000]) {
    const asked = paths.map(() => finder.next());
    assert.deepEqual(asked.map((each) => each.path).sort(), paths);
    assert.deepEqual(asked.map((each) => each.patience), [patience, patience, 5000]);
    assert.ok(!finder.isBusy);
  }
  finder.next();
  assert.ok(finder.isBusy);
  finder.done();
  assert.ok(!finder.isBusy);
  assert.equal(finder.next().patience, 250, "after one was joined it begins anew");
  const given = new Finder("default", `ipc://${paths[0]}`);
  assert.deepEqual(given.next(), { path: paths[0], patience: 5000, objection: "" });
  assert.ok(!given.isBusy);
});
