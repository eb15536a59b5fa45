// The images that were added, in their order, one of which is being upscaled. Object URLs are revoked when one is removed.

const MAX_ATTEMPTS = 30; // of one image, while the server is busy

/** An added image. state: "waiting", "sending", "upscaling", "paused", "done", "failed" or "canceled". */
class Item {
  constructor(file, name) {
    Object.assign(this, { file, name, url: URL.createObjectURL(file), result: null });
    Object.assign(this, { before: null, after: null, pixels: null, isLoaded: false }); // the images for the stage
    this.reset();
  }

  reset() {
    Object.assign(this, { state: "waiting", error: "", share: 0, since: null, attempts: 0, abort: null, canRepeat: true });
  }

  get isActive() { return ["sending", "upscaling", "paused"].includes(this.state); }
  get isPending() { return this.isActive || this.state === "waiting"; }

  /** Return the seconds since the image was sent. */
  get seconds() { return this.since === null ? 0 : (performance.now() - this.since) / 1000; }

  setResult(result) {
    this.dropResult();
    this.isLoaded = false;
    this.result = { ...result, url: URL.createObjectURL(result.blob) };
  }

  dropResult() {
    if (this.result) URL.revokeObjectURL(this.result.url);
    this.result = null;
  }
}

class Queue {
  /** `send(item, hooks)` resolves to the result; `onChange(item)` is called whenever an item or the list has changed. */
  constructor(send, onChange) {
    Object.assign(this, { send, onChange, items: [], isRunning: false });
  }

  add(items) {
    this.items.push(...items);
    this.onChange(items[0]);
    this.run();
  }

  /** Stop the upscaling of an item, or take it out of the line. */
  cancel(item) {
    if (!item.isPending) return;
    item.state = "canceled";
    item.abort?.abort();
    this.onChange(item);
  }

  remove(item) {
    this.cancel(item);
    this.items = this.items.filter((other) => other !== item);
    item.dropResult();
    URL.revokeObjectURL(item.url);
    this.onChange(item);
  }

  /** Upscale an item (again); its result stays until there is the new one. */
  repeat(item) {
    if (item.isPending) return;
    item.reset();
    this.onChange(item);
    this.run();
  }

  async run() {
    if (this.isRunning) return;
    this.isRunning = true;
    for (let item; (item = this.items.find((other) => other.state === "waiting"));) await this.upscale(item);
    this.isRunning = false;
  }

  async upscale(item) {
    item.abort = new AbortController();
    while (item.isPending) {
      this.update(item, { state: "sending", share: 0, since: performance.now() });
      const onProgress = (share) => this.update(item, {
        share, ...(share === 1 && item.state === "sending" ? { state: "upscaling", since: performance.now() } : {}),
      });
      try {
        const result = await this.send(item, { signal: item.abort.signal, onProgress });
        if (!item.isPending) return; // canceled in the last moment
        item.setResult(result);
        this.update(item, { state: "done" });
      } catch (error) {
        if (item.isPending) await this.handleError(item, error);
      }
    }
  }

  async handleError(item, error) {
    if (!(error instanceof RequestError)) {
      this.update(item, { state: "failed", error: `This page has a defect: ${error.message}` });
      console.error(error);
      return;
    }
    item.attempts += 1;
    if (error.retryAfter === null || item.attempts >= MAX_ATTEMPTS) {
      this.update(item, { state: "failed", error: error.message, canRepeat: error.canRepeat });
      return;
    }
    this.update(item, { state: "paused", error: error.message });
    await sleep(error.retryAfter, item.abort.signal);
  }

  update(item, values) {
    if (!item.isPending) return;
    Object.assign(item, values);
    this.onChange(item);
  }
}

/** Wait so many seconds, or until the signal aborts. */
function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
  });
}
