// Runs attention in ONNX Runtime for compare.py, which starts it with node and speaks JSON lines to it.
"use strict";
const ort = require("onnxruntime-node");

let table = null;
let opened = {};

// tensor(name, start, ...): [H, L, D] numbers from the table, laid out [H, L, D] or [L, H, D].
function tensor(start, heads, length, depth, tokensFirst, firstToken) {
  const data = new Float32Array(heads * (length - firstToken) * depth);
  for (let h = 0; h < heads; ++h)
    for (let t = firstToken; t < length; ++t) {
      const place = tokensFirst ? (t - firstToken) * heads + h : h * (length - firstToken) + t - firstToken;
      for (let c = 0; c < depth; ++c)
        data[place * depth + c] = table[(start + (h * length + t) * depth + c) % table.length];
    }
  return data;
}

async function open(m) {
  const s = m.shape;
  const session = await ort.InferenceSession.create(Buffer.from(m.model, "base64"), {
    intraOpNumThreads: s.threads, interOpNumThreads: 1, executionProviders: ["cpu"], logSeverityLevel: 3,
  });
  const [hq, hk, lq, lk, d] = [s.q_heads, s.kv_heads, s.q_len, s.kv_len, s.head_dim];
  const f32 = (data, dims) => new ort.Tensor("float32", data, dims);
  const tokens = m.layout === "tokens" || m.layout === "cache";
  const first = m.layout === "cache" ? lk - 1 : 0;
  const kv = (start) => {
    const data = tensor(start, hk, lk, d, tokens, first);
    return f32(data, tokens ? [1, lk - first, hk * d] : [1, hk, lk, d]);
  };
  const q = tensor(m.starts.q, hq, lq, d, tokens, 0);
  const qDims = tokens ? [1, lq, hq * d] : m.layout === "folded" ? [1, hk, hq / hk, d] : [1, hq, lq, d];
  const feeds = { q: f32(q, qDims), k: kv(m.starts.k), v: kv(m.starts.v) };
  const out = f32(new Float32Array(q.length), qDims);
  const fetches = { o: out };
  if (session.inputNames.includes("last")) {
    feeds.last = new ort.Tensor("int32", Int32Array.of(lk - 1), [1]);
    feeds.total = new ort.Tensor("int32", Int32Array.of(lk), []);
    for (const name of ["k", "v"]) {
      const data = m.layout === "cache" ? tensor(m.starts[name], hk, lk, d, false, 0) : new Float32Array(hk * lk * d);
      // The same memory as past and present: the cache is extended where it lies, not copied.
      fetches["present_" + name] = f32(data, [1, hk, lk, d]);
      if (m.layout === "cache") feeds["past_" + name] = f32(data, [1, hk, lk, d]);
    }
  }
  await session.run(feeds, fetches);
  const sample = [];
  for (let n = 0; n < m.samples; ++n) {
    const i = Math.floor((n * (q.length - 1)) / (m.samples - 1));
    const [h, t, c] = [Math.floor(i / (lq * d)), Math.floor(i / d) % lq, i % d];
    sample.push(out.data[tokens ? (t * hq + h) * d + c : i]);
  }
  opened[m.variant] = { session, feeds, fetches };
  return { sample };
}

async function run(m) {
  const { session, feeds, fetches } = opened[m.variant];
  await session.run(feeds, fetches);  // not timed, as on every side: see timed() in memory.py
  const begin = process.hrtime.bigint();
  const beginCpu = process.cpuUsage();
  for (let n = 0; n < m.times; ++n) await session.run(feeds, fetches);
  const wall = Number(process.hrtime.bigint() - begin) / 1e9;
  const cpu = process.cpuUsage(beginCpu);
  return { wall: wall / m.times, cpu: (cpu.user + cpu.system) / 1e6 / m.times };
}

async function answer(line) {
  const m = JSON.parse(line);
  if (m.do === "start") {
    const bytes = Buffer.from(m.values, "base64");
    table = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    return { version: ort.env.versions.node };
  }
  if (m.do === "open") return open(m);
  if (m.do === "run") return run(m);
  opened = {};
  return {};
}

(async () => {
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    let reply;
    try {
      reply = await answer(line);
    } catch (error) {
      reply = { error: String(error.message || error) };
    }
    process.stdout.write(JSON.stringify(reply) + "\n");
  }
})();
