// The difference of two results on each image of the set, in dB, the largest first.

/** Show the differences of A and B on the images of the current set. */
function showDifferences(viewer) {
  const [first, second] = viewer.pair, { set } = viewer.scene;
  const rows = Object.keys(set.values).map((name) => ({
    name,
    difference: viewer.values(first, name).psnr - viewer.values(second, name).psnr,
    hasPixels: set.scenes.some((scene) => scene.name === name),
  }));
  const count = rows.filter((row) => Number.isFinite(row.difference)).length;
  viewer.find("bars-title").textContent = `${viewer.label(first)} − ${viewer.label(second)}`;
  viewer.find("bars-hint").textContent = count
    ? `PSNR on the ${count} images of ${set.title}; to the right, ${viewer.label(first)} is better`
    : "LR and HR have no PSNR: choose two results as A and B";
  showBars(viewer.find("bars"), rows, viewer.scene.name, (name) => viewer.openSceneOf(set, name));
}

/**
 * Fill a list with one row for each image.
 * `rows` are {name, difference, hasPixels}; `choose(name)` is called for the image that the user chooses.
 */
function showBars(element, rows, current, choose) {
  const sorted = rows
    .filter((row) => Number.isFinite(row.difference))
    .sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference));
  const largest = Math.max(...sorted.map((row) => Math.abs(row.difference)), 1e-9);
  element.replaceChildren(...sorted.map((row) => createBar(row, largest, row.name === current, choose)));
}

function createBar(row, largest, isCurrent, choose) {
  const item = document.createElement("li");
  const line = document.createElement(row.hasPixels ? "button" : "div");
  line.className = "bar-row";
  if (row.hasPixels) {
    line.type = "button";
    line.addEventListener("click", () => choose(row.name));
    if (isCurrent) line.setAttribute("aria-current", "true");
  } else {
    line.title = "The pixels of this image are not in this page: images=all includes every image";
  }
  const name = document.createElement("span"), track = document.createElement("span"), value = document.createElement("span");
  name.className = "bar-name";
  name.textContent = row.name;
  track.className = "bar-track";
  const bar = document.createElement("i");
  const share = (50 * Math.abs(row.difference)) / largest;
  bar.style.width = `${share}%`;
  bar.style.left = `${row.difference >= 0 ? 50 : 50 - share}%`;
  bar.className = row.difference >= 0 ? "first" : "second";
  track.append(bar);
  value.className = "bar-value";
  value.textContent = formatDifference(row.difference);
  line.append(name, track, value);
  item.append(line);
  return item;
}

/** Write a difference in dB with its sign, +0.12 or −0.05; zero as ±0.00. */
function formatDifference(value) {
  const text = Math.abs(value).toFixed(2);
  return `${text === "0.00" ? "±" : value > 0 ? "+" : "−"}${text} dB`;
}
