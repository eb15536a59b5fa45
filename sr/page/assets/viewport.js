// The part of an image that is shown, in all panes of a viewer: zoom in device pixels per image pixel, and the image point at the center.

const ZOOM_LEVELS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]; // whole numbers: every image pixel is a square of one size

class Viewport {
  constructor() {
    this.image = { width: 1, height: 1 };
    this.pane = { width: 1, height: 1 }; // device pixels
    this.isFitted = true;
    this.fit();
  }

  /** Set the size of the image, and show all of it. */
  setImage(width, height) {
    this.image = { width, height };
    this.fit();
  }

  /** Set the size of a pane in device pixels. */
  setPane(width, height) {
    this.pane = { width, height };
    if (this.isFitted) this.fit();
    else this.clamp();
  }

  get fitZoom() {
    return computeFit(this.image, this.pane);
  }

  /** Return the smallest zoom: the whole image, or 1 : 1 if the whole image is larger than that. */
  get leastZoom() {
    return Math.min(1, this.fitZoom);
  }

  get zoom() {
    return this.exactZoom < 1 ? this.exactZoom : Math.round(this.exactZoom);
  }

  /** Return the zoom in words: 4 : 1 is four screen pixels for each image pixel. */
  describe() {
    return this.zoom < 1 ? `${Math.round(100 * this.zoom)} %` : `${this.zoom} : 1`;
  }

  fit() {
    this.isFitted = true;
    this.exactZoom = this.fitZoom;
    this.x = this.image.width / 2;
    this.y = this.image.height / 2;
  }

  /** Set the zoom, so that the image point under `point` (device pixels in the pane) stays where it is. */
  zoomTo(zoom, point = { x: this.pane.width / 2, y: this.pane.height / 2 }) {
    const before = this.toImage(point);
    this.exactZoom = Math.min(ZOOM_LEVELS.at(-1), Math.max(this.leastZoom, zoom));
    this.isFitted = this.exactZoom === this.fitZoom;
    const after = this.toImage(point);
    this.x += before.x - after.x;
    this.y += before.y - after.y;
    this.clamp();
  }

  /** Go one level nearer (1) or farther (-1). */
  zoomStep(direction, point) {
    const levels = [this.leastZoom, ...ZOOM_LEVELS.filter((level) => level > this.leastZoom)];
    const next = direction > 0
      ? levels.find((level) => level > this.zoom + 1e-6)
      : levels.findLast((level) => level < this.zoom - 1e-6);
    if (next !== undefined) this.zoomTo(next, point);
  }

  /** Move the image by so many device pixels. */
  panBy(dx, dy) {
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.clamp();
  }

  clamp() {
    this.x = clampCenter(this.x, this.image.width, this.pane.width / this.zoom);
    this.y = clampCenter(this.y, this.image.height, this.pane.height / this.zoom);
  }

  /** Return the position in the pane of the upper left corner of the image, in whole device pixels. */
  get origin() {
    return {
      x: Math.round(this.pane.width / 2 - this.x * this.zoom),
      y: Math.round(this.pane.height / 2 - this.y * this.zoom),
    };
  }

  /** Return the image point under a point of the pane. */
  toImage(point) {
    return { x: (point.x - this.origin.x) / this.zoom, y: (point.y - this.origin.y) / this.zoom };
  }
}

/** Return the largest zoom at which all of the image is seen: a whole number, or a fraction below 1. */
function computeFit(image, pane) {
  const fit = Math.min(pane.width / image.width, pane.height / image.height);
  return fit >= 1 ? Math.min(Math.floor(fit), ZOOM_LEVELS.at(-1)) : Math.max(fit, 1e-3);
}

/** Return the center so that no more than `visible` of an image side of `length` is left outside without need. */
function clampCenter(center, length, visible) {
  if (visible >= length) return length / 2;
  return Math.min(length - visible / 2, Math.max(visible / 2, center));
}

/** Return the number of columns for so many panes that shows the image largest in a stage of this size. */
function chooseColumns(count, image, stage, captionHeight) {
  let best = { columns: 1, zoom: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const pane = { width: stage.width / columns, height: stage.height / rows - captionHeight };
    const zoom = pane.height > 0 ? Math.min(pane.width / image.width, pane.height / image.height) : 0;
    if (zoom > best.zoom * 1.001) best = { columns, zoom };
  }
  return best.columns;
}
