// Decoded images. A raster has one RGBA pixel for each HR pixel; an LR pixel is repeated s × s times.

/** Decode a data: URI to a canvas of width × height pixels, repeating pixels if the image is smaller. */
async function decodeRaster(uri, width, height) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return { canvas: createCanvas(width, height, (context) => context.drawImage(image, 0, 0, width, height)), width, height };
}

/** Return a new canvas that `draw` has painted, with nearest-neighbor interpolation. */
function createCanvas(width, height, draw) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  draw(context);
  return canvas;
}

/** Return the RGBA values of a box of a raster, 0…255. */
function readPixels(raster, box) {
  return raster.canvas.getContext("2d").getImageData(box.left, box.top, box.width, box.height).data;
}

/** Return BT.601 luma in 16…235 of a pixel in 0…255, as the protocols of super-resolution measure it; not rounded. */
function computeLuma(red, green, blue) {
  return 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255;
}

/**
 * Return the PSNR in dB of a box of two rasters, or null if nothing of it is measured.
 * `measure` is "luma", or "levels" for the mean of R, G and B; `valid` is the box inside the protocol's border.
 */
function measurePsnr(raster, reference, box, valid, measure) {
  const inside = intersectBoxes(box, valid);
  if (inside.width < 1 || inside.height < 1) return null;
  const x = readPixels(raster, inside), y = readPixels(reference, inside);
  const count = inside.width * inside.height;
  let sum = 0;
  for (let i = 0; i < x.length; i += 4) {
    if (measure === "luma") {
      sum += (computeLuma(x[i], x[i + 1], x[i + 2]) - computeLuma(y[i], y[i + 1], y[i + 2])) ** 2;
    } else {
      sum += ((x[i] - y[i]) ** 2 + (x[i + 1] - y[i + 1]) ** 2 + (x[i + 2] - y[i + 2]) ** 2) / 3;
    }
  }
  return 10 * Math.log10(255 ** 2 / (sum / count)); // Infinity for equal pixels
}

/** Return the common part of two boxes {left, top, width, height}; its size is negative or 0 without one. */
function intersectBoxes(a, b) {
  const left = Math.max(a.left, b.left), top = Math.max(a.top, b.top);
  const right = Math.min(a.left + a.width, b.left + b.width), bottom = Math.min(a.top + a.height, b.top + b.height);
  return { left, top, width: right - left, height: bottom - top };
}

/** Write a PSNR as the tables do; a dash if there is none. */
function formatDecibel(value) {
  if (value === null || value === undefined) return "–";
  return value === Infinity ? "∞ dB" : `${value.toFixed(2)} dB`;
}
