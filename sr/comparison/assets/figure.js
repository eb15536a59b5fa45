// "Copy as figure": the crops of the magnifier in one row with their values below, as papers print them, as a PNG.

const FIGURE_TILE = 224, FIGURE_GAP = 8, FIGURE_LINE = 22; // pixels of the figure

/** Draw the strip of tiles {label, value, detail, raster} and return its canvas. */
function drawFigure(tiles, box) {
  const zoom = Math.max(1, Math.round(FIGURE_TILE / Math.max(box.width, box.height)));
  const width = box.width * zoom, height = box.height * zoom;
  const totalWidth = tiles.length * (width + FIGURE_GAP) - FIGURE_GAP;
  return createCanvas(totalWidth, height + 3 * FIGURE_LINE + FIGURE_GAP, (context) => {
    context.fillStyle = "#fff"; // of paper, also on a dark page
    context.fillRect(0, 0, totalWidth, context.canvas.height);
    context.textAlign = "center";
    context.textBaseline = "top";
    tiles.forEach((tile, index) => {
      const left = index * (width + FIGURE_GAP);
      drawCrop(context, tile.raster, box, left, 0, zoom);
      [tile.label, tile.value, tile.detail].forEach((text, line) => {
        context.fillStyle = line < 2 ? "#000" : "#555";
        context.font = `${line === 0 ? "600 17px" : line === 1 ? "17px" : "14px"} "Helvetica Neue", Arial, sans-serif`;
        context.fillText(text, left + width / 2, height + FIGURE_GAP + line * FIGURE_LINE, width);
      });
    });
  });
}

/** Put a canvas on the clipboard as a PNG, and show it; return what happened, in words. */
async function copyFigure(canvas, element, fileName) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const address = canvas.toDataURL("image/png");
  const image = element.querySelector("img"), link = element.querySelector("a");
  image.src = address;
  image.alt = `The figure: ${fileName}`;
  link.href = address;
  link.download = fileName;
  link.hidden = window.top !== window.self; // MLflow's page allows no downloads
  element.hidden = false;
  const text = (await writeClipboard(blob))
    ? "The figure is on the clipboard; this is it:"
    : "This browser lets no page copy images here: copy or save this one from its context menu (long press on a phone).";
  element.querySelector("p").textContent = text;
  return text;
}

/** Return whether the image could be put on the clipboard; it is not allowed inside MLflow's page. */
async function writeClipboard(blob) {
  if (window.top !== window.self || !navigator.clipboard?.write || typeof ClipboardItem === "undefined") return false;
  try {
    await navigator.clipboard.write([new ClipboardItem({ [blob.type]: blob })]);
    return true;
  } catch {
    return false;
  }
}
