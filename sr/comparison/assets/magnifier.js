// The magnifier: the same small box of the image in all sources, each pixel a square.

const TILE_SIDE = 150; // CSS pixels that a tile has at most
const TILES_IN_ROW = 3; // on a phone

/** Return the box of `size` pixels around a point of the image, moved so that all of it is inside. */
function placeBox(point, size, image) {
  const width = Math.min(size, image.width), height = Math.min(size, image.height);
  const left = Math.min(Math.max(0, Math.round(point.x - width / 2)), image.width - width);
  const top = Math.min(Math.max(0, Math.round(point.y - height / 2)), image.height - height);
  return { left, top, width, height };
}

/** Show the box of each raster. `tiles` are {label, value, detail, raster, mark}. */
function showMagnifier(element, tiles, box) {
  while (element.children.length > tiles.length) element.lastChild.remove();
  while (element.children.length < tiles.length) element.append(createTile());
  const ratio = window.devicePixelRatio || 1;
  const side = Math.min(TILE_SIDE, Math.floor(element.clientWidth / TILES_IN_ROW) - 8);
  const zoom = Math.max(1, Math.floor((side * ratio) / box.width));
  tiles.forEach((tile, index) => fillTile(element.children[index], tile, box, zoom, ratio));
}

function createTile() {
  const figure = document.createElement("figure");
  figure.innerHTML = '<canvas role="img"></canvas><figcaption><b></b><span></span><small></small></figcaption>';
  return figure;
}

function fillTile(figure, tile, box, zoom, ratio) {
  const canvas = figure.querySelector("canvas");
  canvas.width = box.width * zoom;
  canvas.height = box.height * zoom;
  canvas.style.width = `${canvas.width / ratio}px`;
  figure.style.width = canvas.style.width;
  canvas.setAttribute("aria-label", [tile.label, tile.value, tile.detail].filter(Boolean).join(", "));
  drawCrop(canvas.getContext("2d", { willReadFrequently: true }), tile.raster, box, 0, 0, zoom);
  figure.querySelector("b").textContent = tile.label;
  figure.querySelector("span").textContent = tile.value;
  figure.querySelector("small").textContent = tile.detail;
  figure.style.setProperty("--mark", tile.mark);
}

/** Draw a box of a raster at (x, y), each pixel as zoom × zoom. */
function drawCrop(context, raster, box, x, y, zoom) {
  context.imageSmoothingEnabled = false;
  const { left, top, width, height } = box;
  context.drawImage(raster.canvas, left, top, width, height, x, y, width * zoom, height * zoom);
}
