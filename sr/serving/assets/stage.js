// The stage: one canvas as large as its place on the page, in device pixels, however large the images are. Left of the divider
// it shows the image before, right of it the result.

const MARGIN_SHARE = 0.25; // of the stage: interpolated around it, so that a short move needs nothing new
const INTERPOLATION_DELAY = 80; // ms without a change, before bicubic pixels are computed
const CHECKER = 8, TAG_ROOM = 0.12; // CSS pixels; share of the width that a tag needs
const STAGE_PAN = 48; // CSS pixels, by an arrow key
const STAGE_ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

class Stage {
  constructor(root, onZoom) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.onZoom = onZoom;
    this.viewport = new Viewport();
    this.interpolation = "bicubic";
    this.before = this.after = this.box = null;
    this.divider = new Divider(root.querySelector("[data-divider]"), () => this.draw());
    this.tags = Object.fromEntries(["before", "after"].map((name) => [name, root.querySelector(`[data-tag=${name}]`)]));
    const redraw = (change) => (...values) => { change(...values); this.draw(); };
    attachGestures(root, {
      pan: redraw((dx, dy) => this.viewport.panBy(dx, dy)),
      pinch: redraw((factor, point) => this.viewport.zoomTo(this.viewport.exactZoom * factor, point)),
      wheel: redraw((direction, point) => this.viewport.zoomStep(direction, point)),
      click: () => this.canvas.focus({ preventScroll: true }), hover: () => {}, slide: () => false,
    }, () => true);
    this.canvas.addEventListener("keydown", (event) => this.handleKey(event));
    new ResizeObserver(() => this.layOut()).observe(root);
    window.addEventListener("resize", () => this.layOut()); // also another ratio of device pixels
  }

  /** Show images, either of which may be null. `size`: of the result, {width, height}. The view stays if the size does. */
  show(before, after, size) {
    const isSame = this.size && size && this.size.width === size.width && this.size.height === size.height;
    Object.assign(this, { before, after, size, box: null });
    if (size && !isSame) this.viewport.setImage(size.width, size.height);
    this.divider.element.hidden = !(before && after);
    this.draw();
  }

  setInterpolation(name) {
    this.interpolation = name;
    this.draw();
  }

  setZoom(zoom) {
    if (zoom === "fit") this.viewport.fit();
    else this.viewport.zoomTo(Number(zoom));
    this.draw();
  }

  /** Show only the result; if that is shown, only the image before. */
  flip() { this.divider.set(this.divider.share === 0 ? 1 : 0); }

  handleKey(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key in STAGE_ARROWS) {
      const [dx, dy] = STAGE_ARROWS[key].map((step) => step * STAGE_PAN * window.devicePixelRatio);
      this.viewport.panBy(dx, dy);
    } else if (key === "+" || key === "=") this.viewport.zoomStep(1);
    else if (key === "-") this.viewport.zoomStep(-1);
    else if (key === "0") this.viewport.fit();
    else if (["1", "2", "4", "8"].includes(key)) this.viewport.zoomTo(Number(key));
    else if (key === "b" || key === " ") this.flip();
    else return;
    event.preventDefault();
    this.draw();
  }

  layOut() {
    const ratio = window.devicePixelRatio || 1, { clientWidth, clientHeight } = this.root;
    if (!clientWidth || !clientHeight) return;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.viewport.setPane(this.canvas.width, this.canvas.height);
    this.draw();
  }

  draw() {
    if (!this.divider) return; // which is being made
    const { context, canvas, before, after, viewport } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const middle = !before ? 0 : !after ? canvas.width : Math.round(this.divider.share * canvas.width);
    if (before) this.drawSide(0, middle, () => this.drawBefore());
    if (after) this.drawSide(middle, canvas.width, () => this.drawImage(after));
    this.labelSides(middle / canvas.width);
    this.root.classList.toggle("is-fitted", viewport.isFitted);
    Object.assign(canvas.dataset, { zoom: viewport.zoom, left: viewport.origin.x, top: viewport.origin.y });
    this.onZoom(viewport);
  }

  /** Draw between two columns of the canvas; a checkerboard is seen where the image is transparent. */
  drawSide(start, end, drawImage) {
    const { context, canvas } = this, { x, y, width, height } = this.placement;
    context.save();
    context.beginPath();
    context.rect(start, 0, end - start, canvas.height);
    context.clip();
    context.fillStyle = this.checkerboard;
    context.fillRect(x, y, width, height);
    drawImage();
    context.restore();
  }

  /** Return where the whole image is on the canvas, in device pixels. */
  get placement() {
    const { origin, zoom, image } = this.viewport;
    return { ...origin, width: Math.round(zoom * image.width), height: Math.round(zoom * image.height) };
  }

  get checkerboard() {
    const side = Math.round(CHECKER * (window.devicePixelRatio || 1)), tile = createCanvas(2 * side, 2 * side);
    for (const [color, x, y] of [["#fff", 0, 0], ["#ccc", 1, 0], ["#ccc", 0, 1], ["#fff", 1, 1]]) {
      tile.fillStyle = color;
      tile.fillRect(x * side, y * side, side, side);
    }
    return this.context.createPattern(tile.canvas, "repeat");
  }

  /** Draw a whole image; pixels are squares, unless it is reduced. */
  drawImage(image, isSmooth = false) {
    const { x, y, width, height } = this.placement;
    this.context.imageSmoothingEnabled = isSmooth || width < image.naturalWidth;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, x, y, width, height);
  }

  /** Draw the image before: by the browser's interpolation at once, and exactly bicubic a moment later. */
  drawBefore() {
    const { before, viewport } = this;
    if (this.interpolation === "nearest") this.drawImage(before);
    else if (viewport.zoom < 1) this.drawImage(before, true); // reduced, or nearly: the difference cannot be seen
    else if (this.box && containsBox(this.box, this.findVisibleBox(0))) this.drawBox();
    else {
      this.drawImage(before, true);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.interpolate(), INTERPOLATION_DELAY);
    }
  }

  /** Draw the bicubic pixels; each is a square of `zoom` device pixels. */
  drawBox() {
    const { origin, zoom } = this.viewport, { left, top, width, height, canvas } = this.box;
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(canvas, origin.x + left * zoom, origin.y + top * zoom, width * zoom, height * zoom);
  }

  interpolate() {
    if (!this.before || this.viewport.zoom < 1 || this.interpolation !== "bicubic") return;
    const box = this.findVisibleBox(MARGIN_SHARE), context = createCanvas(box.width, box.height);
    context.putImageData(upscaleBox(this.before, this.viewport.image, box), 0, 0);
    this.box = { ...box, canvas: context.canvas };
    this.draw();
  }

  /** Return the box of the result that is seen, and a margin around it. */
  findVisibleBox(margin) {
    const { viewport, canvas } = this, { width, height } = viewport.image;
    const start = viewport.toImage({ x: -margin * canvas.width, y: -margin * canvas.height });
    const end = viewport.toImage({ x: (1 + margin) * canvas.width, y: (1 + margin) * canvas.height });
    const left = Math.max(0, Math.floor(start.x)), top = Math.max(0, Math.floor(start.y));
    return { left, top, width: Math.min(width, Math.ceil(end.x)) - left, height: Math.min(height, Math.ceil(end.y)) - top };
  }

  labelSides(share) {
    const { before, after, tags } = this;
    tags.before.hidden = !before || share < TAG_ROOM;
    tags.after.hidden = !after || share > 1 - TAG_ROOM;
    tags.before.textContent = this.viewport.zoom >= 1 || this.interpolation === "nearest" ? `Before, ${
      this.interpolation === "nearest" ? "pixels" : "bicubic"}` : "Before";
    tags.after.textContent = "After";
    const names = [before && "before", after && "after"].filter(Boolean).join(" and ");
    this.canvas.setAttribute("aria-label", names ? `The image ${names}` : "No image");
  }
}

/** Return whether a box {left, top, width, height} contains another one. */
function containsBox(outer, inner) {
  return outer.left <= inner.left && outer.top <= inner.top
    && outer.left + outer.width >= inner.left + inner.width && outer.top + outer.height >= inner.top + inner.height;
}
