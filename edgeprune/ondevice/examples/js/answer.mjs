// Answer texts with this package in Node: onnxruntime-node runs the model, and tokenizers reads the texts.
//
//   node answer.mjs PACKAGE "A text." "Another one."   one JSON object a line
//   node answer.mjs PACKAGE --check                    replay the goldens: is this device computing the right thing?
//
// Exit codes are 0 for success, 2 for what can't be used, and 5 for a golden that has another answer now.

import fs from 'node:fs';
import path from 'node:path';
import * as ort from 'onnxruntime-node';
import { Tokenizer } from 'tokenizers';

class Model {
  static async open(folder) {
    const model = new Model();
    model.about = readJson(folder, 'edgeprune.json');
    const { max_length, truncation_side, graph, session } = model.about;
    model.tokenizer = Tokenizer.fromFile(path.join(folder, 'tokenizer.json'));
    model.tokenizer.disablePadding();
    model.tokenizer.setTruncation(max_length, { direction: truncation_side }); // it keeps the closing token
    model.session = await ort.InferenceSession.create(path.join(folder, graph), sessionOptions(session));
    return model;
  }

  // The raw outputs. A run takes one text, because dynamic quantization chooses its scales over a whole batch.
  async output(text) {
    const encoding = await this.tokenizer.encode(text);
    const values = {
      input_ids: encoding.getIds(), attention_mask: encoding.getAttentionMask(), token_type_ids: encoding.getTypeIds(),
    };
    const tensor = (list) => new ort.Tensor('int64', BigInt64Array.from(list, BigInt), [1, list.length]);
    const feeds = Object.fromEntries(this.about.inputs.map((input) => [input, tensor(values[input])]));
    const [name] = this.about.outputs;
    const found = await this.session.run(feeds, [name]);
    return Array.from(found[name].data);
  }

  // What the outputs say: { label, scores }, { labels, scores }, { value } or { embedding }.
  decode(output) {
    const { task, problem_type, labels } = this.about;
    if (task !== 'text-classification') return { embedding: output };
    if (problem_type === 'regression') return { value: output[0] };
    const several = problem_type === 'multi_label_classification';
    const scores = several ? output.map((one) => 1 / (1 + Math.exp(-one))) : softmax(output);
    const byLabel = Object.fromEntries(labels.map((label, place) => [label, scores[place]]));
    if (several) return { labels: labels.filter((_, place) => scores[place] > 0.5), scores: byLabel };
    return { label: labels[scores.indexOf(Math.max(...scores))], scores: byLabel };
  }

  async answer(text) {
    return this.decode(await this.output(text));
  }

  // Whether a golden's text has the same answer now, within the tolerance of the package's precision.
  async agrees(golden, tolerance) {
    const output = await this.output(golden.text);
    const { label, labels } = this.decode(output);
    const said = label ?? labels;
    if (said !== undefined && JSON.stringify(said) !== JSON.stringify(golden.decision)) return false;
    const largest = Math.max(1, ...golden.outputs.map(Math.abs));
    return (
      output.length === golden.outputs.length &&
      output.every((one, place) => Math.abs(one - golden.outputs[place]) <= tolerance * largest)
    );
  }
}

function readJson(folder, name) {
  return JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'));
}

// What edgeprune.json says of the session: the options that won the race on the target. onnxruntime-node takes an entry such
// as "session.intra_op.allow_spinning" as objects in objects.
function sessionOptions({ threads, level, arena, config }) {
  const extra = {};
  for (const [key, value] of Object.entries(config)) {
    const parts = key.split('.');
    const last = parts.pop();
    let place = extra;
    for (const part of parts) place = place[part] ??= {};
    place[last] = value;
  }
  return { executionProviders: ['cpu'], intraOpNumThreads: threads, graphOptimizationLevel: level, enableCpuMemArena: arena, extra };
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((one) => Math.exp(one - most));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

async function check(model, { goldens, tolerance }) {
  let failed = 0;
  for (const golden of goldens) {
    if (await model.agrees(golden, tolerance)) continue;
    console.error(`${JSON.stringify(golden.text)}: another answer than when the package was made`);
    failed += 1;
  }
  console.log(`goldens: ${failed ? `${failed} failed` : 'ok'}`);
  return failed ? 5 : 0;
}

async function main([folder, ...texts]) {
  if (!texts.length) {
    console.error('usage: node answer.mjs PACKAGE --check | TEXT...');
    return 2;
  }
  const model = await Model.open(folder);
  if (texts[0] === '--check') return check(model, readJson(folder, 'goldens.json'));
  for (const text of texts) console.log(JSON.stringify({ text, ...(await model.answer(text)) }));
  return 0;
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  return 2;
});
