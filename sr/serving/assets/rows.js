// The list of images: a row for each, with its state in words and a button to cancel or remove it.

class Rows {
  /** handlers: select(item), cancel(item), remove(item). */
  constructor(list, handlers) {
    Object.assign(this, { list, handlers, rows: new Map() });
  }

  /** Bring the list in line with the items; `selected` is the one on the stage, `describe(item)` its state in words. */
  update(items, selected, describe) {
    for (const [item, row] of this.rows) {
      if (items.includes(item)) continue;
      row.element.remove();
      this.rows.delete(item);
    }
    for (const item of items) {
      if (!this.rows.has(item)) this.rows.set(item, this.createRow(item));
      this.fillRow(this.rows.get(item), item, item === selected, describe(item));
    }
    this.list.hidden = !items.length;
  }

  createRow(item) {
    const element = document.createElement("li"), open = document.createElement("button"), image = new Image();
    const texts = document.createElement("span"), name = document.createElement("b"), state = document.createElement("span");
    const stop = document.createElement("button");
    open.type = stop.type = "button";
    open.className = "open";
    stop.className = "stop";
    image.alt = "";
    Object.assign(image, { decoding: "async", loading: "lazy" });
    const missing = Object.assign(document.createElement("span"), { className: "missing" });
    image.addEventListener("error", () => image.replaceWith(missing)); // a format that this browser cannot show
    image.src = item.url;
    name.textContent = name.title = item.name;
    texts.append(name, state);
    open.append(image, texts);
    open.addEventListener("click", () => this.handlers.select(item));
    stop.addEventListener("click", () => (item.isPending ? this.handlers.cancel(item) : this.remove(item)));
    element.append(open, stop);
    this.list.append(element);
    return { element, open, state, stop };
  }

  /** Remove an item; the focus goes to its neighbor, so that it is not lost. */
  remove(item) {
    const { element } = this.rows.get(item), neighbor = element.nextElementSibling ?? element.previousElementSibling;
    this.handlers.remove(item);
    neighbor?.querySelector(".open").focus();
  }

  /** Scroll the list, and not the page, to a row. */
  reveal(element) {
    const { list } = this, top = element.offsetTop - list.offsetTop, bottom = top + element.offsetHeight;
    if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight) list.scrollTop = top;
  }

  fillRow(row, item, isSelected, text) {
    row.element.dataset.state = item.state;
    if (isSelected && !row.open.hasAttribute("aria-current")) this.reveal(row.element);
    if (isSelected) row.open.setAttribute("aria-current", "true");
    else row.open.removeAttribute("aria-current");
    if (row.state.textContent !== text) row.state.textContent = text;
    const verb = item.isPending ? "Cancel" : "Remove";
    row.stop.textContent = "×";
    row.stop.title = verb;
    row.stop.setAttribute("aria-label", `${verb} ${item.name}`);
  }
}
