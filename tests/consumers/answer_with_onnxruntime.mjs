// Run a package's graph with onnxruntime-node: FOLDER, and batches on standard input, in numbers.
//
// The first line has the names of the inputs. For each batch, a line has its size (texts, tokens), and then each input has a
// line. For each batch, each output gets a line with its size and one with its numbers; a batch that fails gets one line.

import fs from 'node:fs';
import path from 'node:path';
import * as ort from 'onnxruntime-node';

const folder = process.argv[2];
const { graph, outputs, session: wanted } = JSON.parse(fs.readFileSync(path.join(folder, 'edgeprune.json'), 'utf8'));
const lines = fs.readFileSync(0, 'utf8').trim().split('\n').map((line) => line.split(' '));
const names = lines.shift();

const extra = {};
for (const [key, value] of Object.entries(wanted.config)) {
  key.split('.').reduce((place, part, index, all) => (place[part] ??= index + 1 < all.length ? {} : value), extra);
}
const session = await ort.InferenceSession.create(path.join(folder, graph), {
  executionProviders: ['cpu'], intraOpNumThreads: wanted.threads, graphOptimizationLevel: wanted.level,
  enableCpuMemArena: wanted.arena, extra,
});
while (lines.length) {
  const dims = lines.shift().map(Number);
  const feeds = Object.fromEntries(
    names.map((name) => [name, new ort.Tensor('int64', BigInt64Array.from(lines.shift(), BigInt), dims)]),
  );
  try {
    const found = await session.run(feeds, outputs);
    for (const name of outputs) console.log(`${found[name].dims.join(' ')}\n${found[name].data.join(' ')}`);
  } catch (error) {
    console.log(String(error).replaceAll('\n', ' '));
  }
}
