// A pane: one canvas with a caption, which draws a raster through the viewport that all panes share.

const BOX_COLORS = ["#000", "#ffd400"]; // outer and inner line: one of them is seen on any image

class Pane {
  /** Create a pane that shows the source of this key, and for the slider a second one to the right of the divider. */
  constructor(key, secondKey = null) {
    this.key = key;
    this.secondKey = secondKey;
    this.element = document.createElement("figure");
    this.element.className = "pane";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.caption = document.createElement("figcaption");
    this.element.append(this.canvas, this.caption);
  }

  /** Set the size of the canvas in CSS pixels. */
  resize(width, height, ratio) {
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
  }

  /** Draw a raster, and `second` to the right of `divider` (0…1 of the pane's width) if there is one. */
  draw(viewport, raster, { second = null, divider = 1, box = null } = {}) {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (!raster) return;
    drawThrough(context, viewport, raster);
    if (second) {
      const x = Math.round(divider * width);
      context.save();
      context.beginPath();
      context.rect(x, 0, width - x, height);
      context.clip();
      context.clearRect(x, 0, width - x, height);
      drawThrough(context, viewport, second);
      context.restore();
      drawDivider(context, x, height);
    }
    if (box) drawBox(context, viewport, box);
    Object.assign(this.canvas.dataset, { zoom: viewport.zoom, left: viewport.origin.x, top: viewport.origin.y });
  }
}

function drawThrough(context, viewport, raster) {
  const { x, y } = viewport.origin;
  context.imageSmoothingEnabled = viewport.zoom < 1; // without it, a reduced image would leave pixels out
  context.imageSmoothingQuality = "high";
  context.drawImage(raster.canvas, x, y, raster.width * viewport.zoom, raster.height * viewport.zoom);
}

function drawDivider(context, x, height) {
  context.fillStyle = "#000";
  context.fillRect(x - 2, 0, 4, height);
  context.fillStyle = "#fff";
  context.fillRect(x - 1, 0, 2, height);
  const ratio = window.devicePixelRatio || 1, radius = 13 * ratio;
  context.beginPath();
  context.arc(x, height / 2, radius, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = "#000";
  for (const side of [-1, 1]) { // two arrowheads
    context.beginPath();
    context.moveTo(x + side * radius * 0.7, height / 2);
    context.lineTo(x + side * radius * 0.25, height / 2 - radius * 0.4);
    context.lineTo(x + side * radius * 0.25, height / 2 + radius * 0.4);
    context.fill();
  }
}

/** Draw two lines around a box of the image; none of its pixels is covered. */
function drawBox(context, viewport, box) {
  const { x, y } = viewport.origin, zoom = viewport.zoom;
  for (const [index, color] of BOX_COLORS.entries()) {
    const distance = BOX_COLORS.length - index - 0.5;
    context.strokeStyle = color;
    context.lineWidth = 1;
    context.strokeRect(
      x + Math.round(box.left * zoom) - distance, y + Math.round(box.top * zoom) - distance,
      Math.round(box.width * zoom) + 2 * distance, Math.round(box.height * zoom) + 2 * distance,
    );
  }
}
