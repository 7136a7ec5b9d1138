// Answer one request in a page: what agent.py does on a device with a Python, onnxruntime-web does here.
//
// The request is request.json: agent.py's, in which a model has its name, its files (`path`, and `data` for the files of its
// weights), and drawn values are files of float32 values; `unread` names an output that no answer is made of. `answered` promises
// the lines that agent.py writes about models, and `device` tells what a page knows of the device.
//
// Each model that is timed has a wasm instance of its own, as in a page that has one model: the threads of onnxruntime-web are
// the instance's, and so is its memory.

import { openSession, prepare } from './session.mjs';

const RUNTIME = new URL('ort/ort.wasm.bundle.min.mjs', import.meta.url).href;
const WASM = new URL('ort/ort-wasm-simd-threaded.wasm', import.meta.url).href;
const START_TIMEOUT_MS = 60_000; // threads that can't be started are waited for without end otherwise
const FINE = 20; // a sample takes so many ticks of the clock at least

let instances = 0;

// A module with another address is another instance.
async function runtime(threads) {
  const ort = await import(`${RUNTIME}?${instances++}`);
  prepare(ort, threads, WASM);
  ort.env.wasm.initTimeout = START_TIMEOUT_MS;
  return ort;
}

async function bytes(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function open(ort, model, options) {
  const weights = await Promise.all(model.data.map(async ({ name, path }) => ({ path: name, data: await bytes(path) })));
  return openSession(ort, await bytes(model.path), weights, options);
}

const drawn = new Map();

async function tensor(ort, value) {
  if (Array.isArray(value)) {
    return new ort.Tensor('int64', BigInt64Array.from(value.flat(), BigInt), [value.length, value[0].length]);
  }
  if (!drawn.has(value.path)) drawn.set(value.path, new Float32Array((await bytes(value.path)).buffer));
  return new ort.Tensor('float32', drawn.get(value.path), value.shape);
}

async function feeds(ort, session, batches) {
  const known = new Map(); // a batch that is given many times is made once
  const found = [];
  for (const batch of batches) {
    const key = JSON.stringify(batch);
    if (!known.has(key)) {
      const taken = Object.entries(batch).filter(([name]) => session.inputNames.includes(name));
      known.set(key, Object.fromEntries(await Promise.all(taken.map(async ([name, value]) => [name, await tensor(ort, value)]))));
    }
    found.push(known.get(key));
  }
  return found;
}

// The names of the outputs that answers are made of: all but the token states beside an embedding.
function outputsRead(session, { unread }) {
  const names = session.outputNames.filter((name) => name !== unread);
  return names.length ? names : session.outputNames;
}

// Open a session and run it once. `began` is a time in ms on the page's clock.
async function start(request, model, began) {
  const options = request.sessions[model.name];
  const ort = await runtime(options.threads);
  const session = await open(ort, model, options);
  const created = performance.now();
  const given = await feeds(ort, session, request.batches[model.name]);
  const ready = performance.now();
  const names = outputsRead(session, request);
  await session.run(given[0], names);
  const line = { kind: 'session', name: model.name, create_ns: ns(created - began), first_run_ns: ns(performance.now() - ready) };
  return { model, given, names, line, run: (feed) => session.run(feed, names) };
}

const ns = (ms) => Math.max(1, Math.round(ms * 1e6));

// The smallest step of the clock, in ms.
function resolution() {
  let smallest = Infinity;
  for (let step = 0; step < 20; step++) {
    const before = performance.now();
    let now = before;
    while (now === before) now = performance.now();
    smallest = Math.min(smallest, now - before);
  }
  return smallest;
}

async function latency(request) {
  const started = [];
  for (const model of request.models) started.push(await start(request, model, performance.now()));
  const tick = resolution();
  for (const one of started) {
    for (let run = 0; run < request.warmup; run++) await one.run(one.given[run % one.given.length]);
    const began = performance.now();
    await one.run(one.given[0]);
    // Where the clock is too coarse for one run, a sample is the mean of several.
    one.runs = Math.ceil((FINE * tick) / Math.max(tick, performance.now() - began));
    one.taken = [];
  }
  const count = started[0].given.length;
  for (let first = 0; first < count; first += request.block) {
    for (const { run, given, taken, runs } of started) {
      // The first run after the other model's turn only brings this one's weights back into the caches.
      await run(given[first]);
      for (const feed of given.slice(first, first + request.block)) {
        const began = performance.now();
        for (let time = 0; time < runs; time++) await run(feed);
        taken.push(ns((performance.now() - began) / runs));
      }
    }
  }
  return started.flatMap(({ model, line, taken }) => [line, { kind: 'samples', name: model.name, ns: taken }]);
}

// The page was navigated to at 0 on its own clock.
async function memory(request) {
  const { line } = await start(request, request.models[0], 0);
  return [line];
}

async function load(request) {
  const lines = [];
  const shared = new Map(); // models aren't timed, and one instance for each number of threads is enough
  for (const model of request.models) {
    const options = request.sessions[model.name];
    let error = null;
    try {
      if (!shared.has(options.threads)) shared.set(options.threads, await runtime(options.threads));
      const ort = shared.get(options.threads);
      const session = await open(ort, model, options);
      const [feed] = await feeds(ort, session, request.batches[model.name].slice(0, 1));
      await session.run(feed, outputsRead(session, request));
      await session.release();
    } catch (fault) {
      error = words(fault);
      shared.delete(options.threads); // an instance that was aborted answers nothing any more
    }
    lines.push({ kind: 'loaded', name: model.name, error });
  }
  return lines;
}

async function outputs(request) {
  const lines = [];
  for (const model of request.models) {
    const { run, given, names } = await start(request, model, 0);
    const values = [], shapes = [], all = [];
    for (const feed of given) {
      const found = await run(feed);
      const tensors = names.map((name) => found[name]);
      const [{ dims }] = tensors;
      const flat = tensors.map(({ data }) => Array.from(data, Number));
      values.push(flat.length === 1 ? flat[0] : flat[0].flatMap((_, place) => flat.map((each) => each[place])));
      shapes.push(flat.length === 1 ? dims : [...dims, flat.length]);
      all.push(...tensors.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()));
    }
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await new Blob(all).arrayBuffer()));
    const sha256 = Array.from(digest, (one) => one.toString(16).padStart(2, '0')).join('');
    lines.push({ kind: 'outputs', name: model.name, values, shapes, sha256 });
  }
  return lines;
}

// onnxruntime-web throws a number where C++'s exception left the wasm.
const words = (fault) => String(fault?.message ?? fault).trim().split('\n')[0] || 'no message';

async function answer() {
  const modes = { latency, memory, load, outputs, probe: async () => [] };
  const lines = [];
  try {
    const request = await (await fetch('request.json')).json();
    lines.push(...(await modes[request.mode](request)));
  } catch (fault) {
    lines.push({ kind: 'error', type: fault?.name ?? 'Error', message: words(fault) });
  }
  return JSON.stringify(lines);
}

// The bytes of the smallest module that uses a feature (https://github.com/GoogleChromeLabs/wasm-feature-detect).
const FEATURES = {
  simd128: [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
  'relaxed-simd': [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11],
};

function device() {
  const isa = Object.entries(FEATURES)
    .filter(([, code]) => WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, ...code])))
    .map(([name]) => name);
  if (crossOriginIsolated) isa.push('threads');
  return JSON.stringify({ isa, cores: navigator.hardwareConcurrency, clock_ns: ns(resolution()) });
}

globalThis.device = device;
globalThis.answered = answer();
