// Bicubic interpolation of a part of an image, the same in every browser: R. Keys, 1981, equation 4 with a = -1/2, edge
// pixels repeated.

const CUBIC = -0.5;

/** Return the weights of the pixels at distances 1 + t, t, 1 - t and 2 - t, which sum up to 1; 0 <= t < 1. */
function computeCubicWeights(t) {
  const near = (d) => ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1;
  const far = (d) => ((d - 5) * d + 8) * d * CUBIC - 4 * CUBIC;
  return [far(1 + t), near(t), near(1 - t), far(2 - t)];
}

/**
 * Return the taps of `count` pixels from `start` on, of a line of `length` pixels that becomes `newLength` long:
 * {indices, weights} with four entries for each, and the range of indices, first … last.
 */
function listTaps(start, count, length, newLength) {
  const indices = new Int32Array(4 * count), weights = new Float32Array(4 * count);
  for (let k = 0; k < count; k++) {
    const position = (start + k + 0.5) * length / newLength - 0.5, base = Math.floor(position);
    computeCubicWeights(position - base).forEach((weight, tap) => {
      weights[4 * k + tap] = weight;
      indices[4 * k + tap] = Math.min(length - 1, Math.max(0, base - 1 + tap));
    });
  }
  return { indices, weights, first: indices[0], last: indices.at(-1) };
}

/**
 * Return a box {left, top, width, height} of an image after bicubic upscaling to newSize, as ImageData.
 * Colors are weighted by alpha, as all correct resizing is.
 */
function upscaleBox(image, newSize, box) {
  const columns = listTaps(box.left, box.width, image.naturalWidth, newSize.width);
  const rows = listTaps(box.top, box.height, image.naturalHeight, newSize.height);
  const width = columns.last - columns.first + 1, height = rows.last - rows.first + 1;
  const source = createCanvas(width, height);
  source.drawImage(image, columns.first, rows.first, width, height, 0, 0, width, height);
  const pixels = toPremultiplied(source.getImageData(0, 0, width, height).data);

  // [height, width] -> [height, box.width] -> [box.height, box.width], each with 4 channels
  const wide = new Float32Array(4 * height * box.width);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < box.width; x++, to += 4) {
      for (let tap = 4 * x; tap < 4 * x + 4; tap++) {
        const from = 4 * (y * width + columns.indices[tap] - columns.first), weight = columns.weights[tap];
        for (let c = 0; c < 4; c++) wide[to + c] += weight * pixels[from + c];
      }
    }
  }
  const result = new ImageData(box.width, box.height), line = 4 * box.width, sums = new Float32Array(line);
  for (let y = 0; y < box.height; y++) {
    sums.fill(0);
    for (let tap = 4 * y; tap < 4 * y + 4; tap++) {
      const from = line * (rows.indices[tap] - rows.first), weight = rows.weights[tap];
      for (let k = 0; k < line; k++) sums[k] += weight * wide[from + k];
    }
    storeStraight(sums, result.data, y * line);
  }
  return result;
}

/** Return R, G, B, each times alpha / 255, and alpha. */
function toPremultiplied(levels) {
  const result = new Float32Array(levels);
  for (let k = 0; k < levels.length; k += 4) {
    const alpha = levels[k + 3] / 255;
    if (alpha === 1) continue;
    for (let c = 0; c < 3; c++) result[k + c] *= alpha;
  }
  return result;
}

/** Divide by alpha and store in a clamped array, which rounds. */
function storeStraight(sums, levels, start) {
  for (let k = 0; k < sums.length; k += 4) {
    const alpha = Math.min(255, Math.max(0, sums[k + 3])), factor = alpha > 0 ? 255 / alpha : 0;
    for (let c = 0; c < 3; c++) levels[start + k + c] = sums[k + c] * factor;
    levels[start + k + 3] = alpha;
  }
}

/** Return the context of a new canvas. */
function createCanvas(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  return context;
}
