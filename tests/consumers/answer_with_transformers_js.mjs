// Answer texts or images with transformers.js: CLASS FOLDER, and a JSON list of inputs on standard input.
//
// It prints JSON: `alone` has each input's output when it is asked alone, `lists` when it is asked in padded lists of 8, and
// `left` what is said when a list of texts is padded on the left.

import fs from 'node:fs';
import path from 'node:path';
import * as transformers from '@huggingface/transformers';

const [name, folder] = process.argv.slice(2);
const contents = JSON.parse(fs.readFileSync(0, 'utf8'));
transformers.env.allowRemoteModels = false;
transformers.env.localModelPath = path.dirname(folder);
const id = path.basename(folder);
const images = fs.existsSync(path.join(folder, 'preprocessor_config.json'));
const read = await transformers[images ? 'AutoProcessor' : 'AutoTokenizer'].from_pretrained(id);
const model = await transformers[name].from_pretrained(id, { device: 'cpu' });

// Each input's outputs; of a token's outputs, those that aren't padding's; of features, the mean of the tokens.
async function outputs(some) {
  if (images) {
    const found = await model(await read(await Promise.all(some.map((one) => transformers.RawImage.read(one)))));
    return (found.logits ?? found.image_embeds).tolist();
  }
  const pairs = Array.isArray(some[0]);
  const first = pairs ? some.map(([one]) => one) : some;
  const inputs = read(first, { text_pair: pairs ? some.map(([, other]) => other) : null, padding: true, truncation: true });
  const found = await model(inputs);
  if (found.last_hidden_state) {
    return transformers.mean_pooling(found.last_hidden_state, inputs.attention_mask).normalize(2, -1).tolist();
  }
  const lengths = inputs.attention_mask.tolist().map((row) => row.filter(Boolean).length);
  if (found.start_logits) {
    const [start, end] = [found.start_logits.tolist(), found.end_logits.tolist()];
    return start.map((row, text) => row.slice(0, lengths[text]).map((one, token) => [one, end[text][token]]));
  }
  const rows = found.logits.tolist();
  return found.logits.dims.length === 2 ? rows : rows.map((row, text) => row.slice(0, lengths[text]));
}

const alone = [], lists = [];
for (const content of contents) alone.push(...(await outputs([content])));
for (let place = 0; place < contents.length; place += 8) lists.push(...(await outputs(contents.slice(place, place + 8))));
let left = null;
if (!images) {
  read.padding_side = 'left';
  left = await outputs(contents.slice(0, 8)).then(() => 'answered', String);
}
fs.writeSync(1, JSON.stringify({ alone, lists, left }));
