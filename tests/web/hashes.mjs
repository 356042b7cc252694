// Reads keys and messages as hex, a pair on a line; writes SHA-1, SHA-256 and HMAC-SHA-256 of each.

import { readFileSync } from "node:fs";

import { hex, hmacSha256, sha1, sha256, unhex } from "../../src/busway/web/codec.js";

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const [key, message] = line.split(" ").map(unhex);
  console.log([sha1(message), sha256(message), hmacSha256(key, message)].map(hex).join(" "));
}
