// The image viewer: its state, its controls, and what is drawn when they change. The data come from Python as JSON
// (`sr.comparison.pixels`): {sources: {key: {label, detail, color}}, sets: [{title, measure, scale, border, sources, values,
// scenes: [{name, size, crop, spot, images: {key: data URI}}]}]}.

const LR = "lr", HR = "hr", BICUBIC = "bicubic";
const SHOWN_KINDS = ["image", "absolute", "signed"];
const CAPTION_HEIGHT = 52, GAP = 6; // CSS pixels, as in viewer.css
const MIN_HEIGHT = 420, MAX_HEIGHT = 1000, HEIGHT_SHARE = 0.9; // of the stage: CSS pixels, and of the window's height
const MIN_PANE = 120; // CSS pixels
const MAX_SIDE_BY_SIDE = 6; // results that are shown at first

class Viewer {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.viewport = new Viewport();
    this.rasters = new Map(); // of the current scene: key, or key and error map -> raster
    this.scenes = data.sets.flatMap((set) => set.scenes.map((scene) => ({ ...scene, set })));
    this.mode = "side";
    this.shown = "image";
    this.divider = 0.5;
    this.boxSize = 48;
    this.blind = null;
    this.isLoading = false; // the images of a trial
    this.panes = [];
    connectControls(this);
    connectStage(this);
    attachKeys(this);
    fillScenes(this);
    this.chooseSources();
    this.openScene(0);
  }

  // State that follows from other state

  get scene() { return this.scenes[this.sceneIndex]; }
  get results() { return this.scene.set.sources.filter((key) => ![LR, HR, BICUBIC].includes(key)); }
  get range() { return Number(this.find("range").value); }
  get reference() { return this.find("reference").value; }
  get visible() { return this.scene.set.sources.filter((key) => this.chosen.has(key)); }

  find(name) { return this.root.querySelector(`[data-${name}]`); }
  label(key) { return this.data.sources[key].label; }

  /** Return the measured values of a source on the current image: {psnr, ssim}; {} if it has none. */
  values(key, name = this.scene.name) { return this.scene.set.values[name]?.[key] ?? {}; }

  /** Choose what is shown at first: all, or of many results the first ones. */
  chooseSources() {
    const { sources } = this.scenes[0].set;
    this.chosen = new Set(sources);
    const results = sources.filter((key) => ![LR, HR, BICUBIC].includes(key));
    for (const key of results.slice(MAX_SIDE_BY_SIDE - 2)) this.chosen.delete(key);
    if (sources.length > 4) this.chosen.delete(LR);
    this.pair = results.length > 1 ? results.slice(0, 2) : [results[0] ?? BICUBIC, results.length ? BICUBIC : HR];
  }

  // Actions of the user

  setMode(mode) {
    this.mode = mode;
    this.root.querySelector(`[name=mode][value=${mode}]`).checked = true;
    this.flickerKey = this.pair[0];
    this.update();
  }

  setShown(shown) {
    this.shown = shown;
    this.root.querySelector(`[name=shown][value=${shown}]`).checked = true;
    this.update();
  }

  cycleShown() { this.setShown(SHOWN_KINDS[(SHOWN_KINDS.indexOf(this.shown) + 1) % SHOWN_KINDS.length]); }

  setPair(index, key) {
    this.pair[index] = key;
    this.flickerKey = key;
    this.root.querySelector(`[data-pair="${index}"]`).value = key;
    this.update();
  }

  swapPair() {
    const [first, second] = this.pair;
    this.setPair(0, second);
    this.setPair(1, first);
  }

  toggleSource(key) {
    if (!this.chosen.delete(key)) this.chosen.add(key);
    if (!this.visible.length) this.chosen.add(key); // an empty stage helps nobody
    this.root.querySelector(`[data-chips] input[value="${key}"]`).checked = this.chosen.has(key);
    this.update();
  }

  /** Show the nth result in the flicker view; in other views show or hide it. */
  pressNumber(index) {
    const key = this.scene.set.sources[index];
    if (key === undefined) return;
    if (this.mode === "flicker") this.showFlicker(key);
    else this.toggleSource(key);
  }

  /** Go to the flicker view, or exchange A and B in it. */
  flip() {
    if (this.mode !== "flicker") this.setMode("flicker");
    else this.showFlicker(this.flickerKey === this.pair[0] ? this.pair[1] : this.pair[0]);
  }

  showFlicker(key) {
    this.flickerKey = key;
    this.update();
    this.announce(this.label(key));
  }

  zoomStep(direction) {
    this.viewport.zoomStep(direction);
    this.draw();
  }

  fit() {
    this.viewport.fit();
    this.draw();
  }

  /** Move the image by CSS pixels. */
  panBy(dx, dy) {
    this.viewport.panBy(dx * window.devicePixelRatio, dy * window.devicePixelRatio);
    this.draw();
  }

  setDivider(share) {
    this.divider = Math.min(1, Math.max(0, share));
    this.find("divider").value = Math.round(1000 * this.divider);
    this.draw();
  }

  /** Move the divider to `share`; with `reach`, which says that a drag begins, only if it is that near. */
  slide(share, reach) {
    if (this.mode !== "slider" || this.blind || (reach !== null && Math.abs(share - this.divider) > reach)) return false;
    this.setDivider(share);
    return true;
  }

  placeBox(point) {
    if (this.blind) return;
    this.box = placeBox(point, this.boxSize, this.viewport.image);
    this.draw();
    this.showMagnifier();
  }

  moveBox(dx, dy) {
    const { left, top, width, height } = this.box;
    this.placeBox({ x: left + dx + width / 2, y: top + dy + height / 2 });
  }

  setBoxSize(size) {
    this.boxSize = size;
    this.moveBox(0, 0);
  }

  stepScene(direction) {
    this.openScene((this.sceneIndex + direction + this.scenes.length) % this.scenes.length);
  }

  openSceneOf(set, name) {
    this.openScene(this.scenes.findIndex((scene) => scene.set === set && scene.name === name));
  }

  async copyFigure() {
    const tiles = this.listTiles(this.visible);
    const name = `${this.scene.name}_x${this.scene.set.scale}.png`.replace(/[^\w.-]+/g, "_");
    this.announce(await copyFigure(drawFigure(tiles, this.box), this.find("figure"), name));
  }

  // Blind test

  startBlind() {
    const scenes = this.scenes.filter((scene) => this.pair.every((key) => key in scene.images));
    this.find("blind-result").hidden = true;
    this.blind = new BlindTest([...this.pair], scenes);
    this.setShown("image");
    this.showTrial();
  }

  answerBlind(position) {
    if (!this.blind || this.isLoading) return;
    this.blind.answer(position);
    if (this.blind.isFinished) this.endBlind();
    else this.showTrial();
  }

  /** Show the images of the current trial; what is answered before they are there does not count. */
  async showTrial() {
    const { index, trials, trial } = this.blind;
    this.isLoading = true;
    await this.openScene(this.scenes.indexOf(trial.scene));
    this.isLoading = false;
    this.find("blind-text").textContent = `Blind test, ${index + 1} of ${trials.length}: which is better?`;
    this.announce(this.find("blind-text").textContent);
    this.find("stage").focus({ preventScroll: true });
  }

  endBlind() {
    const text = describeBlindTest(this.blind.summarize(), this.blind.keys.map((key) => this.label(key)));
    this.blind = null;
    this.find("blind-result").textContent = `Blind test. ${text}`;
    this.find("blind-result").hidden = false;
    this.update();
    this.announce(text);
  }

  // Images

  /** Decode the images of a scene, and show it. */
  async openScene(index) {
    this.sceneIndex = index;
    const scene = this.scene, { width, height } = scene.crop;
    const keys = Object.keys(scene.images);
    const rasters = await Promise.all(keys.map((key) => decodeRaster(scene.images[key], width, height)));
    if (scene !== this.scene) return; // the user has gone on
    this.rasters = new Map(keys.map((key, k) => [key, rasters[k]]));
    this.find("scene").value = index;
    this.find("figure").hidden = true;
    this.viewport.setImage(width, height);
    this.box = placeBox(scene.spot, this.boxSize, this.viewport.image);
    fillSources(this);
    this.find("note").textContent = describeCrop(scene);
    this.update();
  }

  /** Return what is shown of a source: the image or its error map. */
  getShownRaster(key) {
    if (this.shown === "image" || this.blind) return this.rasters.get(key);
    const name = [key, this.shown, this.reference, this.range].join(" ");
    if (!this.rasters.has(name)) {
      this.rasters.set(name, makeErrorMap(this.rasters.get(key), this.rasters.get(this.reference), this.shown, this.range));
    }
    return this.rasters.get(name);
  }

  /** Return the PSNR of the box, or null for LR and HR. */
  measureBox(key) {
    if ([LR, HR].includes(key)) return null;
    const { size, crop, set } = this.scene, border = set.border;
    const valid = {
      left: border - crop.left, top: border - crop.top, width: size.width - 2 * border, height: size.height - 2 * border,
    };
    return measurePsnr(this.rasters.get(key), this.rasters.get(HR), this.box, valid, set.measure);
  }

  /** Return what the magnifier and the figure show of these sources. */
  listTiles(keys) {
    return keys.map((key) => {
      const crop = this.measureBox(key), psnr = this.values(key).psnr;
      return {
        label: this.label(key), raster: this.rasters.get(key), mark: this.data.sources[key].color,
        value: psnr === undefined ? "" : formatDecibel(psnr), detail: crop === null ? "" : `crop ${formatDecibel(crop)}`,
      };
    });
  }

  // Drawing

  /** Show everything anew after a change of state. */
  update() {
    const isBlind = this.blind !== null, isError = this.shown !== "image";
    for (const element of this.root.querySelectorAll("[data-normal]")) element.hidden = isBlind;
    for (const element of this.root.querySelectorAll("[data-error-option]")) element.hidden = !isError;
    for (const select of this.root.querySelectorAll(".viewer-bar:first-child :is(select, button)")) select.disabled = isBlind;
    this.find("blind").hidden = !isBlind;
    this.find("divider-bar").hidden = isBlind || this.mode !== "slider";
    this.find("flip-bar").hidden = isBlind || this.mode !== "flicker";
    showColorScale(this.find("color-scale"), isBlind ? "image" : this.shown, this.range, this.label(this.reference));
    this.createPanes();
    this.layOut();
    if (isBlind) return;
    this.showMagnifier();
    showDifferences(this);
  }

  createPanes() {
    if (this.blind) {
      const keys = [...this.blind.trial.order, ...(this.find("blind-hr").checked ? [HR] : [])];
      this.panes = keys.map((key) => new Pane(key));
    } else if (this.mode === "side") this.panes = this.visible.map((key) => new Pane(key));
    else if (this.mode === "slider") this.panes = [new Pane(...this.pair)];
    else this.panes = [new Pane(this.flickerKey)];
    this.panes.forEach((pane, index) => fillCaption(this, pane, index));
    this.find("stage").replaceChildren(...this.panes.map((pane) => pane.element));
  }

  /** Give the panes the size at which they show the whole image largest, and draw. */
  layOut() {
    const stage = this.find("stage"), width = stage.clientWidth, count = this.panes.length;
    if (!width || !count) return;
    const ratio = window.devicePixelRatio || 1, { image } = this.viewport;
    const limit = Math.min(MAX_HEIGHT, Math.max(MIN_HEIGHT, HEIGHT_SHARE * window.innerHeight));
    const columns = chooseColumns(count, image, { width, height: limit }, CAPTION_HEIGHT), rows = Math.ceil(count / columns);
    const paneWidth = Math.floor((width - GAP * (columns - 1)) / columns);
    const paneLimit = Math.max(MIN_PANE, Math.floor((limit - GAP * (rows - 1)) / rows) - CAPTION_HEIGHT);
    const fit = computeFit(image, { width: paneWidth * ratio, height: paneLimit * ratio });
    const paneHeight = Math.max(MIN_PANE, Math.ceil((fit * image.height) / ratio));
    stage.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    stage.style.height = `${rows * (paneHeight + CAPTION_HEIGHT) + GAP * (rows - 1)}px`;
    for (const pane of this.panes) pane.resize(paneWidth, paneHeight, ratio);
    this.viewport.setPane(this.panes[0].canvas.width, this.panes[0].canvas.height);
    this.draw();
  }

  draw() {
    for (const pane of this.panes) {
      const second = pane.secondKey ? this.getShownRaster(pane.secondKey) : null;
      const box = this.blind ? null : this.box;
      pane.draw(this.viewport, this.getShownRaster(pane.key), { second, divider: this.divider, box });
    }
    this.find("zoom").textContent = this.viewport.describe();
    this.find("stage").classList.toggle("is-fitted", this.viewport.isFitted);
    for (const label of this.root.querySelectorAll("[data-slider-label]")) {
      label.textContent = this.label(this.pair[label.dataset.sliderLabel]);
    }
  }

  showMagnifier() {
    showMagnifier(this.find("magnifier"), this.listTiles(this.visible), this.box);
  }

  announce(text) {
    this.find("status").textContent = text;
  }
}

for (const root of document.querySelectorAll("[data-viewer]")) {
  root.viewer = new Viewer(root, JSON.parse(document.querySelector("[data-viewer-data]").textContent));
}
