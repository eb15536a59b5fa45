// The page: what it knows of the server, the list of images, and the one on the stage.

const INFO_RETRY = 3, TICK = 0.5, TOAST = 6; // seconds
const OPTIONS = ["format", "quality", "outscale", "tile"]; // parameters of POST /upscale

class Upscaler {
  constructor(root) {
    this.root = root;
    this.info = null;
    this.selected = null;
    this.shown = {}; // what the stage shows: the URLs of the images, before and after
    this.rate = null; // seconds for each pixel of the last image
    this.queue = new Queue((item, hooks) => this.send(item, hooks), (item) => this.update(item));
    this.stage = new Stage(this.find("stage"), (viewport) => this.showZoom(viewport));
    this.rows = new Rows(this.find("queue"), {
      select: (item) => this.select(item), cancel: (item) => this.queue.cancel(item), remove: (item) => this.remove(item),
    });
    attachIntake(this.find("files"), this.find("drop-sign"), (files) => this.add(files), (text) => this.showToast(text));
    this.connectControls();
    setInterval(() => this.tick(), 1000 * TICK);
    this.loadInfo();
  }

  find(name) { return this.root.querySelector(`[data-${name}]`); }

  connectControls() {
    for (const button of this.root.querySelectorAll("button[data-zoom]")) {
      button.addEventListener("click", () => this.stage.setZoom(button.dataset.zoom));
    }
    this.find("interpolation").addEventListener("change", (event) => this.stage.setInterpolation(event.target.value));
    for (const name of OPTIONS) this.find(name).addEventListener("input", () => this.showResult());
    this.find("again").addEventListener("click", () => this.queue.repeat(this.selected));
    this.find("notice-button").addEventListener("click", () => this.answerNotice());
    this.find("notice").addEventListener("pointerdown", (event) => event.stopPropagation()); // not a click on the stage
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.selected?.isPending) this.queue.cancel(this.selected);
    });
  }

  // The server

  /** Ask what the server is now, which may have been started again, and wait until it is ready. */
  async loadInfo() {
    if (this.isAsking) return;
    this.isAsking = true;
    while (this.isAsking) {
      try {
        this.info = await requestInfo();
        this.isAsking = false;
      } catch (error) {
        const reason = error instanceof RequestError ? error.message : "it does not answer";
        document.querySelector(".lead").textContent = `The server is not ready: ${reason}`;
        await new Promise((resolve) => { setTimeout(resolve, 1000 * INFO_RETRY); });
      }
    }
    const { name, scale, net, license, limits, formats } = this.info;
    const facts = [name, `×${scale}`, net !== name && net, license && `license: ${license}`].filter(Boolean);
    document.querySelector(".lead").replaceChildren(...facts.flatMap((fact, index) => {
      const span = Object.assign(document.createElement("span"), { textContent: fact }); // a line does not end within it
      return index ? [" · ", span] : [span];
    }));
    document.title = `Upscale images ×${scale}`;
    const most = [limits.bytes && formatBytes(limits.bytes), limits.pixels && `${formatPixels(limits.pixels)}`];
    this.find("limits").textContent = `Each at most ${most.filter(Boolean).join(" and ")}.`;
    const select = this.find("format"), { value } = select;
    select.replaceChildren(select.options[0], ...formats.map((format) => new Option(format.toUpperCase(), format)));
    select.value = formats.includes(value) ? value : "";
    Object.assign(this.find("outscale"), { max: scale, placeholder: scale });
  }

  /** Return the parameters of a request; a value that is not allowed, which the field shows, is left out. */
  get options() {
    const fields = OPTIONS.map((name) => [name, this.find(name)]);
    const options = Object.fromEntries(fields.map(([name, { validity, value }]) => [name, validity.valid ? value : ""]));
    return isLossy(options.format) ? options : { ...options, quality: "" };
  }

  async send(item, hooks) {
    const { bytes } = this.info?.limits ?? {}, options = this.options;
    if (bytes && item.file.size > bytes) { // the server would close the connection while the image is being sent
      throw new RequestError(`The file has ${formatBytes(item.file.size)}; the server takes at most ${formatBytes(bytes)}.`);
    }
    if (!item.file.size) throw new RequestError("The file is empty.");
    return { ...await requestUpscaling(item.file, options, hooks), options };
  }

  // The list

  add(files) {
    const items = files.map((file) => new Item(file, file.name || "image.png"));
    this.root.classList.remove("is-empty");
    this.find("work").hidden = false;
    this.selected = items[0];
    this.queue.add(items);
    this.showSelected();
    this.loadInfo();
  }

  select(item) {
    this.selected = item;
    this.showSelected();
    this.update(item);
  }

  remove(item) {
    const { items } = this.queue, index = items.indexOf(item);
    if (item === this.selected) this.selected = items[index + 1] ?? items[index - 1] ?? null;
    this.queue.remove(item);
    const isEmpty = !this.queue.items.length;
    this.root.classList.toggle("is-empty", isEmpty);
    this.find("work").hidden = isEmpty;
    if (isEmpty) this.find("files").focus();
    this.showSelected();
  }

  /** Show what has changed of an item. */
  update(item) {
    this.rows.update(this.queue.items, this.selected, describeState);
    if (item !== this.selected) return;
    this.showNotice();
    this.showResult();
    if (item.state === this.announced?.state && item === this.announced.item) return;
    this.announced = { item, state: item.state };
    if (item.state !== "sending") this.announce(`${item.name}: ${describeState(item, true)}`);
    if (item.state === "done") this.showSelected();
  }

  /** Show the seconds of what is being upscaled. */
  tick() {
    if (!this.queue.items.some((item) => item.isActive)) return;
    this.rows.update(this.queue.items, this.selected, describeState);
    this.showNotice();
  }

  announce(text) { this.find("status").textContent = text; }

  showToast(text) {
    const toast = this.find("toast");
    this.announce(text);
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => { toast.hidden = true; }, 1000 * TOAST);
  }

  // The stage

  /** Load the images of the selected item, and show them. */
  async showSelected() {
    const item = this.selected;
    if (!item) {
      this.stage.show(null, null, null);
      return;
    }
    const urls = [item.url, item.result?.url];
    const [before, after] = await Promise.all(urls.map((url) => (url ? loadImage(url) : null)));
    if (item !== this.selected || urls[1] !== item.result?.url) return; // something else has to be shown meanwhile
    const scale = this.info?.scale ?? 1;
    const size = after ? { width: after.naturalWidth, height: after.naturalHeight }
      : before && { width: before.naturalWidth * scale, height: before.naturalHeight * scale };
    const pixels = before ? before.naturalWidth * before.naturalHeight : null;
    if (pixels && item.result) this.rate = item.result.seconds / pixels;
    Object.assign(item, { before, after, pixels, isLoaded: true });
    this.stage.show(before, after, size);
    this.showNotice();
    this.showResult();
  }

  showZoom(viewport) {
    this.find("zoom-text").textContent = viewport.describe();
    for (const button of this.root.querySelectorAll("button[data-zoom]")) {
      const isFit = button.dataset.zoom === "fit";
      button.setAttribute("aria-pressed", isFit === viewport.isFitted && (isFit || viewport.zoom === Number(button.dataset.zoom)));
    }
  }

  /** Show over the image what is being waited for, or what went wrong. */
  showNotice() {
    const item = this.selected, notice = this.find("notice"), progress = this.find("notice-progress");
    const text = item ? this.describeNotice(item) : "";
    notice.hidden = !text;
    if (!text) return;
    notice.classList.toggle("is-error", item.state === "failed");
    notice.classList.toggle("is-alone", item.isLoaded && !item.before && !item.after);
    this.find("notice-text").textContent = text;
    this.find("notice-button").textContent = item.isPending ? "Cancel" : "Try again";
    this.find("notice-button").hidden = item.state === "done" || (item.state === "failed" && !item.canRepeat);
    progress.hidden = !item.isActive;
    const share = this.estimateShare(item);
    if (share === null) progress.removeAttribute("value");
    else progress.value = share;
  }

  describeNotice(item) {
    if (item.state !== "done") return describeState(item, true);
    if (!item.isLoaded || item.after) return "";
    return `This browser cannot show this ${formatType(item.result.type)}: download it, or choose another format.`;
  }

  /** Return how much of the work is probably done, by the time that the last image took; null if unknown. */
  estimateShare(item) {
    if (item.state === "sending") return item.share;
    if (item.state !== "upscaling" || !this.rate || !item.pixels) return null;
    return Math.min(0.98, item.seconds / (this.rate * item.pixels));
  }

  answerNotice() {
    if (this.selected.isPending) this.queue.cancel(this.selected);
    else this.queue.repeat(this.selected);
  }

  /** Show what there is to say about the result, and the controls to download it or to make another one. */
  showResult() {
    const item = this.selected, { result } = item ?? {}, download = this.find("download"), { options } = this;
    this.find("quality-field").hidden = !isLossy(options.format);
    download.hidden = !result;
    const isOther = result && OPTIONS.some((name) => result.options[name] !== options[name]);
    this.find("again").hidden = !isOther || item.isPending;
    this.find("summary").textContent = result ? describeResult(item) : "";
    if (!result) return;
    download.href = result.url;
    const { before, after } = item, ratio = before && after ? after.naturalWidth / before.naturalWidth : this.info?.scale;
    download.download = nameResult(item.name, result.options.outscale || ratio, result.type);
    download.textContent = `Download ${formatType(result.type)}`;
  }
}

function formatPixels(count) {
  if (count < 1e6) return `${count.toLocaleString("en")} pixels`;
  return `${count < 1e7 ? (count / 1e6).toFixed(1) : Math.round(count / 1e6)} megapixels`;
}

function isLossy(format) {
  return ["jpeg", "jpg", "webp", "avif"].includes(format);
}

/** Return the state of an item in words; for the row, or `isLong` for the stage. */
function describeState(item, isLong = false) {
  switch (item.state) {
    case "waiting": return "waiting";
    case "sending": return `sending, ${Math.round(100 * item.share)} %`;
    case "upscaling": return `upscaling, ${Math.floor(item.seconds)} s`;
    case "paused": return isLong ? `${item.error} Trying again …` : "waiting for the server";
    case "canceled": return "canceled";
    case "failed": return isLong ? item.error : "failed";
    default: return `done in ${formatSeconds(item.result.seconds)}`;
  }
}

function describeResult({ before, after, result, isLoaded }) {
  const sizes = [before, after].map((image) => (image ? `${image.naturalWidth} × ${image.naturalHeight}` : ""));
  const size = isLoaded && sizes.every(Boolean) ? sizes.join(" → ") : sizes[1];
  const lost = result.lost && `not in the result: ${result.lost}`;
  return [size, formatBytes(result.blob.size), `in\u00a0${formatSeconds(result.seconds)}`, lost].filter(Boolean).join(" · ");
}

new Upscaler(document.querySelector("[data-upscaler]"));
