// What waits for a callback that wants the newest alone, and its bound. Run by test_codec.py, under node.

import assert from "node:assert/strict";
import test from "node:test";

import { Latest } from "../../src/busway/web/latest.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A callback that ends when it is told to. */
function slow() {
  const made = { handed: [] };
  made.latest = new Latest((event) => {
    made.handed.push([event.source, event.payload, event.missed]);
    return new Promise((resolve) => (made.end = resolve));
  });
  made.put = (source, payload, missed = 0) => made.latest.put({ source, payload, missed });
  made.next = () => (made.end(), settled());
  return made;
}

test("what comes at once is one call with the newest", async () => {
  const { put, handed } = slow();
  for (let number = 0; number < 100; number++) put("a", number);
  assert.deepEqual(handed, []);
  await settled();
  assert.deepEqual(handed, [["a", 99, 99]]);
});

test("origins keep their order, and what was missed before adds up", async () => {
  const { put, next, handed } = slow();
  put("a", 0);
  await settled();
  put("b", 1, 3);
  put("a", 2);
  put("b", 3, 4);
  await next();
  put("a", 4);
  put("b", 5);
  await next();
  await next();
  assert.deepEqual(handed, [
    ["a", 0, 0],
    ["b", 3, 8],
    ["a", 4, 1],
    ["b", 5, 0],
  ]);
  await next();
  put("a", 6);
  await settled();
  assert.deepEqual(handed.at(-1), ["a", 6, 0], "after it had nothing to do");
});

test("of 4,096 origins one waits, and what had no place is missed by the next", async () => {
  const { put, next, handed, latest } = slow();
  put("first", 0);
  await settled();
  for (let number = 0; number < 4096; number++) put(`n${number}`, number);
  put("late", 1);
  put("late", 2, 5);
  for (let number = 0; number < 5000; number++) put(`more${number}`, 0);
  put("n7", 8);
  assert.equal(latest.waiting.size, 4096);
  assert.equal(latest.lost.size, 4096);
  await next();
  put("late", 3);
  for (let number = 1; number <= 4096; number++) await next();
  assert.equal(handed.length, 4098);
  assert.deepEqual(handed[8], ["n7", 8, 1]);
  assert.deepEqual(handed.at(-1), ["late", 3, 7]);
});

test("closed, it hands over nothing more", async () => {
  const { put, next, handed, latest } = slow();
  put("a", 0);
  await settled();
  put("a", 1);
  latest.close();
  await next();
  assert.equal(handed.length, 1);
});

test("of one origin each name has its newest", async () => {
  const { latest, handed, next } = slow();
  latest.put({ source: "a", name: "busy", payload: 0, missed: 0 });
  await settled();
  for (const [name, payload] of [["x", 1], ["y", 2], ["x", 3]]) latest.put({ source: "a", name, payload, missed: 0 });
  await next();
  await next();
  assert.deepEqual(handed, [
    ["a", 0, 0],
    ["a", 3, 1],
    ["a", 2, 0],
  ]);
});
