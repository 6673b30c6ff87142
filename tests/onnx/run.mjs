// node run.mjs MODEL.onnx IMAGES BATCH FOLDER [MODEL.onnx IMAGES BATCH FOLDER ...]
// Runs models in ONNX Runtime over images, BATCH at a time. IMAGES holds float32 numbers, image after image; FOLDER gets one
// file an output, OUTPUT.bin: the raw numbers of all runs, one after the other.
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ort from 'onnxruntime-node';

for (let rest = process.argv.slice(2); rest.length > 0; rest = rest.slice(4)) {
    const [model, images, batch, folder] = rest;
    const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 });
    const shape = [Number(batch), ...session.inputMetadata[0].shape.slice(1)];
    const bytes = readFileSync(images);
    const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const step = shape.reduce((a, b) => a * b);
    for (let start = 0; start < numbers.length; start += step) {
        const input = new ort.Tensor('float32', numbers.slice(start, start + step), shape);
        const outputs = await session.run({ [session.inputNames[0]]: input });
        for (const [name, { data }] of Object.entries(outputs))
            appendFileSync(join(folder, `${name}.bin`), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    await session.release();
}
