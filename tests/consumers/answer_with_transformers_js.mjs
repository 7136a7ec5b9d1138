// Answer with transformers.js in Node: CLASS FOLDER, and a JSON list of inputs on standard input; what it prints is JSON too.

import fs from 'node:fs';
import path from 'node:path';
import * as transformers from '@huggingface/transformers';
import { answerAll } from './transformers_js.mjs';

const [name, folder] = process.argv.slice(2);
Object.assign(transformers.env, { allowRemoteModels: false, localModelPath: path.dirname(folder) });
const images = fs.existsSync(path.join(folder, 'preprocessor_config.json'));
const contents = JSON.parse(fs.readFileSync(0, 'utf8'));
const found = await answerAll(transformers, { name, id: path.basename(folder), images, device: 'cpu', contents });
fs.writeSync(1, JSON.stringify(found));
