// Which names a pattern means, beside a matcher that tries everything. Run by test_codec.py, under node.

import assert from "node:assert/strict";
import test from "node:test";

import { fits, isPattern, levelsOf } from "../../src/busway/web/patterns.js";

const naive = ([first, ...pattern], levels) => {
  if (first === undefined) return !levels.length;
  if (first === "**") return naive(pattern, levels) || (levels.length > 0 && naive([first, ...pattern], levels.slice(1)));
  return levels.length > 0 && (first === "*" || first === levels[0]) && naive(pattern, levels.slice(1));
};

test("what is a pattern", () => {
  for (const name of ["*", "**", "lab/*", "**/a", "*/**/*"]) assert.ok(isPattern(name), name);
  for (const name of ["lab", "", "a*", "lab/*b/*", "***"]) assert.ok(!isPattern(name), name);
  assert.deepEqual(levelsOf("a/**/**/b/**"), ["a", "**", "b", "**"]);
});

test("a pattern means the names that one which tries everything finds", () => {
  let seed = 3;
  const draw = (below) => (seed = (seed * 48271) % 0x7fffffff) % below;
  const some = (words) => Array.from({ length: 1 + draw(6) }, () => words[draw(words.length)]);
  const found = [0, 0];
  for (let round = 0; round < 20000; round++) {
    const pattern = some(["a", "b", "*", "**"]);
    const levels = some(["a", "b", ""]);
    const meant = naive(pattern, levels);
    assert.equal(fits(levelsOf(pattern.join("/")), levels.join("/")), meant, `${pattern.join("/")} ${levels.join("/")}`);
    found[Number(meant)]++;
  }
  assert.ok(Math.min(...found) > 2000, `${found}`);
  assert.ok(!fits(["**"], "lab/*"), "a pattern means no pattern");
});

test("a pattern built to be slow costs the product of both lengths", () => {
  const pattern = levelsOf("**/a/".repeat(12) + "**/b");
  let steps = 0;
  const watched = new Proxy(pattern, { get: (of, key) => (steps++, of[key]) });
  assert.ok(!fits(watched, "a/".repeat(31) + "a"));
  assert.ok(steps < 64 * 64, `${steps} steps`);
});
