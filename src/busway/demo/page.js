/* The demo's page: a node of the bus that shows what is published and asks what one clicks. Knows no protocol. */

import { Bus } from "/busway/busway.js";

const GIB = 2 ** 30;
const show = (id, text) => (document.getElementById(id).textContent = text);
const busName =
  new URLSearchParams(location.search).get("bus") ?? document.documentElement.dataset.bus ?? "demo";
const url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}`;

const bus = new Bus(url, {
  bus: busName,
  label: "page",
  backoff: { first: 0.2, most: 3 },
  onState({ state, error, retryIn }) {
    const element = document.getElementById("state");
    element.dataset.state = state;
    element.textContent =
      state + (error ? `: ${error.message}` : "") + (retryIn ? `, again in ${retryIn.toFixed(1)} s` : "");
  },
});

let came = 0;
let missed = 0;
bus.subscribe("demo/readings", (readings, message) => {
  came += 1;
  missed += message.missed;
  show("count", came);
  show("missed", missed);
  show("cpu", `${readings.cpu_percent.toFixed(0)} %`);
  document.getElementById("cpu-bar").value = readings.cpu_percent;
  show("memory", `${readings.memory_percent.toFixed(0)} % of ${(readings.memory_size / GIB).toFixed(1)} GiB`);
  document.getElementById("memory-bar").value = readings.memory_percent;
  show("load", readings.load.map((load) => load.toFixed(2)).join("  "));
  const sensors = Object.entries(readings.celsius).map(
    ([name, celsius]) => `${name} ${celsius.toFixed(0)} °C`,
  );
  show("celsius", sensors.join(", ") || "no sensors");
});

function fill(id, rows) {
  document.getElementById(id).replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      for (const cell of cells) {
        const element = row.insertCell();
        element.textContent = cell;
        if (typeof cell === "number") element.className = "number";
      }
      return row;
    }),
  );
}

bus.subscribe("demo/overview", ({ nodes, endpoints }) => {
  fill(
    "nodes",
    nodes.map(({ label, id, links }) => [label, id, links || ""]),
  );
  fill(
    "endpoints",
    endpoints.map(({ name, kind, rate }) => [name, kind, Math.round(rate)]),
  );
});

document.getElementById("sum").addEventListener("submit", async (event) => {
  event.preventDefault();
  const numbers = ["a", "b"].map((id) => document.getElementById(id).valueAsNumber);
  const began = performance.now();
  try {
    const answer = await bus.request("demo/sum", numbers, { timeout: 3 });
    show("answer", `${numbers.join(" + ")} = ${answer}, in ${(performance.now() - began).toFixed(1)} ms`);
  } catch (error) {
    show("answer", error.message);
  }
});
