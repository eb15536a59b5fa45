// The divider between before and after: a slider by mouse, touch and keyboard, at a share 0…1 of the stage's width.

const DIVIDER_KEYS = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1 };

class Divider {
  constructor(element, onMove) {
    Object.assign(this, { element, onMove });
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation(); // the stage would move the image
      element.setPointerCapture(event.pointerId);
      const { left, width } = element.getBoundingClientRect();
      this.grip = event.clientX - (left + width / 2);
    });
    element.addEventListener("pointermove", (event) => {
      if (!element.hasPointerCapture(event.pointerId)) return;
      const { left, width } = element.parentElement.getBoundingClientRect();
      this.set((event.clientX - this.grip - left) / width);
    });
    element.addEventListener("keydown", (event) => {
      const { key } = event;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (key === "Home" || key === "End") this.set(key === "Home" ? 0 : 1);
      else if (key in DIVIDER_KEYS) this.set(this.share + DIVIDER_KEYS[key]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.set(0.5);
  }

  set(share) {
    this.share = Math.round(1000 * Math.min(1, Math.max(0, share))) / 1000;
    const percent = Math.round(100 * this.share);
    this.element.style.left = `${100 * this.share}%`;
    this.element.setAttribute("aria-valuenow", percent);
    this.element.setAttribute("aria-valuetext", `${percent} % before, ${100 - percent} % after`);
    this.onMove();
  }
}
