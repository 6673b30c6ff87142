// ONNX Runtime's side of the comparison. Requests come as JSON lines on stdin, answers go out as JSON lines; see
// Espalier.Peers/Peers/Peer.cs. Or, as a process that makes one prediction and ends:
//   node ort.mjs MODULES first MODEL INPUT BATCH CHANNELS SIZE
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { createRequire } from 'node:module';

const [modules, mode, ...rest] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(modules), 'from-here.js'));
const ort = require('onnxruntime-node');
const sessions = new Map();

/** Raw little-endian floats, the first batch x channels x size x size of the file. */
function readInput(file, shape) {
  const floats = new Float32Array(shape.reduce((a, b) => a * b));
  const bytes = new Uint8Array(floats.buffer);
  const handle = fs.openSync(file, 'r');
  const read = fs.readSync(handle, bytes, 0, bytes.length, 0);
  fs.closeSync(handle);
  if (read !== bytes.length) throw new Error(`${file} is too short for ${shape}`);
  return floats;
}

async function load(request) {
  const session = await ort.InferenceSession.create(request.file, {
    executionProviders: ['cpu'],
    intraOpNumThreads: request.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    // Our files call the batch N. Fixed at load, it makes a few shapes constant, which is one percent faster.
    freeDimensionOverrides: { N: request.batch },
  });
  const shape = [request.batch, request.channels, request.size, request.size];
  const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', readInput(request.input, shape), shape) };
  // The result goes into memory that is there already, as ours does.
  const output = session.outputNames[0];
  const first = (await session.run(feeds))[output];
  const fetches = { [output]: new ort.Tensor('float32', new Float32Array(first.data.length), first.dims) };
  return { session, feeds, fetches, output };
}

async function run({ session, feeds, fetches }, seconds) {
  const times = [];
  const start = performance.now();
  let now = start;
  do {
    await session.run(feeds, fetches);
    const end = performance.now();
    times.push(end - now);
    now = end;
  } while (now - start < seconds * 1000);
  return times;
}

async function answer(request) {
  switch (request.op) {
    case 'hello':
      return { name: 'ONNX Runtime', version: require('onnxruntime-node/package.json').version, host: `Node ${process.version}` };
    case 'load':
      sessions.set(request.id, await load(request));
      return {};
    case 'run':
      return { times: await run(sessions.get(request.id), request.seconds) };
    case 'output': {
      const { session, feeds, fetches, output } = sessions.get(request.id);
      await session.run(feeds, fetches);
      return { output: Array.from(fetches[output].data) };
    }
    case 'unload':
      await sessions.get(request.id).session.release();
      sessions.delete(request.id);
      return {};
    default:
      throw new Error(`no such request: ${request.op}`);
  }
}

function peakKilobytes() {
  return Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
}

async function first([model, input, batch, channels, size]) {
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ['cpu'], intraOpNumThreads: 2, interOpNumThreads: 1, graphOptimizationLevel: 'all',
  });
  const shape = [Number(batch), Number(channels), Number(size), Number(size)];
  const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', readInput(input, shape), shape) };
  const logits = (await session.run(feeds))[session.outputNames[0]].data;
  const classes = logits.length / shape[0];
  const label = logits.slice(0, classes).reduce((best, x, i, all) => (x > all[best] ? i : best), 0);
  console.log(JSON.stringify({ label, peak: peakKilobytes() }));
}

if (mode === 'first') {
  await first(rest);
} else {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let reply;
    try {
      reply = await answer(JSON.parse(line));
    } catch (error) {
      reply = { error: String(error.message).split('\n')[0] };
    }
    process.stdout.write(JSON.stringify(reply) + '\n');
  }
}
