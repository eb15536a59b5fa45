// Error maps: the difference of an image to a reference as colors.

const ABSOLUTE_COLORS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]; // dark to bright
const SIGNED_COLORS = [[5, 60, 140], [90, 160, 220], [247, 247, 247], [235, 140, 95], [150, 15, 30]]; // blue, white, red
const TABLE_SIZE = 256;

/** Return a table of TABLE_SIZE colors between the anchors, which are at equal distances. */
function buildColorTable(anchors) {
  return Array.from({ length: TABLE_SIZE }, (_, index) => {
    const position = (index / (TABLE_SIZE - 1)) * (anchors.length - 1);
    const first = Math.min(Math.floor(position), anchors.length - 2), share = position - first;
    return anchors[first].map((value, channel) => Math.round(value + share * (anchors[first + 1][channel] - value)));
  });
}

const COLOR_TABLES = { absolute: buildColorTable(ABSOLUTE_COLORS), signed: buildColorTable(SIGNED_COLORS) };

/**
 * Return the raster of the error of `raster` against `reference`.
 * "absolute" is the mean of |ΔR|, |ΔG| and |ΔB|, from 0 to `range` levels; "signed" the difference in luma, −range…range.
 */
function makeErrorMap(raster, reference, kind, range) {
  const { width, height } = raster, whole = { left: 0, top: 0, width, height };
  const x = readPixels(raster, whole), y = readPixels(reference, whole);
  const map = new ImageData(width, height), table = COLOR_TABLES[kind];
  for (let i = 0; i < x.length; i += 4) {
    const share = kind === "signed" ? 0.5 + computeSignedError(x, y, i) / (2 * range) : computeAbsoluteError(x, y, i) / range;
    const color = table[Math.round(Math.min(1, Math.max(0, share)) * (TABLE_SIZE - 1))];
    map.data.set(color, i);
    map.data[i + 3] = 255;
  }
  return { canvas: createCanvas(width, height, (context) => context.putImageData(map, 0, 0)), width, height };
}

function computeAbsoluteError(x, y, i) {
  return (Math.abs(x[i] - y[i]) + Math.abs(x[i + 1] - y[i + 1]) + Math.abs(x[i + 2] - y[i + 2])) / 3;
}

/** Return the difference in full-range luma, in levels. */
function computeSignedError(x, y, i) {
  return 0.299 * (x[i] - y[i]) + 0.587 * (x[i + 1] - y[i + 1]) + 0.114 * (x[i + 2] - y[i + 2]);
}

/** Show the color scale of an error map as a gradient with its ends in levels. */
function showColorScale(element, kind, range, referenceLabel) {
  element.hidden = kind === "image";
  if (element.hidden) return;
  const colors = (kind === "signed" ? SIGNED_COLORS : ABSOLUTE_COLORS).map((color) => `rgb(${color.join(" ")})`);
  element.querySelector(".scale-bar").style.background = `linear-gradient(to right, ${colors.join(", ")})`;
  element.querySelector(".scale-low").textContent = kind === "signed" ? `−${range}` : "0";
  element.querySelector(".scale-high").textContent = kind === "signed" ? `+${range}` : `${range} or more`;
  element.querySelector(".scale-text").textContent = kind === "signed"
    ? `luma minus that of ${referenceLabel}, in levels of 255`
    : `absolute error against ${referenceLabel}, mean of R, G and B, in levels of 255`;
}
