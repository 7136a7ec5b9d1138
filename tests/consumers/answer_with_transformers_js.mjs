// Answer texts with transformers.js: CLASS FOLDER, and a JSON list of texts or pairs on standard input.
//
// It prints JSON: `alone` has each text's output when it is asked alone, `lists` when it is asked in padded lists of 8, and
// `left` what is said when a list is padded on the left.

import fs from 'node:fs';
import path from 'node:path';
import * as transformers from '@huggingface/transformers';

const [name, folder] = process.argv.slice(2);
const texts = JSON.parse(fs.readFileSync(0, 'utf8'));
transformers.env.allowRemoteModels = false;
transformers.env.localModelPath = path.dirname(folder);
const options = { subfolder: '', model_file_name: 'model', dtype: 'fp32', device: 'cpu' };
const id = path.basename(folder);
const tokenizer = await transformers.AutoTokenizer.from_pretrained(id);
const model = await transformers[name].from_pretrained(id, options);

// Each text's outputs; of a token's outputs, those that aren't padding's.
async function outputs(some) {
  const pairs = Array.isArray(some[0]);
  const first = pairs ? some.map(([one]) => one) : some;
  const inputs = tokenizer(first, { text_pair: pairs ? some.map(([, other]) => other) : null, padding: true, truncation: true });
  const found = await model(inputs);
  const lengths = inputs.attention_mask.tolist().map((row) => row.filter(Boolean).length);
  if (found.start_logits) {
    const [start, end] = [found.start_logits.tolist(), found.end_logits.tolist()];
    return start.map((row, text) => row.slice(0, lengths[text]).map((one, token) => [one, end[text][token]]));
  }
  const rows = found.logits.tolist();
  return found.logits.dims.length === 2 ? rows : rows.map((row, text) => row.slice(0, lengths[text]));
}

const alone = [], lists = [];
for (const text of texts) alone.push(...(await outputs([text])));
for (let place = 0; place < texts.length; place += 8) lists.push(...(await outputs(texts.slice(place, place + 8))));
tokenizer.padding_side = 'left';
const left = await outputs(texts.slice(0, 8)).then(() => 'answered', String);
fs.writeSync(1, JSON.stringify({ alone, lists, left }));
