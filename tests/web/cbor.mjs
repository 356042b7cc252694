// Reads CBOR as hex, a value on a line; answers each with what the JavaScript client makes of it, as CBOR again.

import { createInterface } from "node:readline";

import { decode, encode, hex, unhex } from "../../src/busway/web/codec.js";

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(hex(encode(decode(unhex(line)))));
  } catch (error) {
    console.log(`${error.name}: ${error.message}`);
  }
}
