// Reads JavaScript expressions, one on a line; answers each with the CBOR of its value as hex, or with the error.

import { createInterface } from "node:readline";

import { encode, hex, Tagged } from "../../src/busway/web/codec.js";

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(hex(encode(new Function("Tagged", `return ${line}`)(Tagged))));
  } catch (error) {
    console.log(`${error.name}: ${error.message}`);
  }
}
