// The line below the stage: what of the image is shown, and the values of the pixel at the pointer.

/** Show the position of the pointer in the whole image, and the pixel's values there; `point` is null without a pointer. */
function showPosition(viewer, point) {
  const { crop } = viewer.scene, x = Math.floor(point?.x ?? -1), y = Math.floor(point?.y ?? -1);
  const isInside = x >= 0 && y >= 0 && x < crop.width && y < crop.height;
  if (!isInside || viewer.blind) {
    viewer.find("note").textContent = describeCrop(viewer.scene);
    return;
  }
  const values = viewer.panes.map((pane) => {
    const [red, green, blue] = readPixels(viewer.rasters.get(pane.key), { left: x, top: y, width: 1, height: 1 });
    return `${viewer.label(pane.key)} ${red === green && green === blue ? red : `${red} ${green} ${blue}`}`;
  });
  viewer.find("note").textContent = `pixel (${x + crop.left}, ${y + crop.top}): ${values.join(" · ")}`;
}

/** Return in words what of the image is shown. */
function describeCrop({ crop, size }) {
  const whole = `${size.width} × ${size.height}`;
  if (crop.width === size.width && crop.height === size.height) return `The whole image, ${whole} pixels.`;
  const part = `A crop of ${crop.width} × ${crop.height} pixels at (${crop.left}, ${crop.top})`;
  return `${part} of the image, ${whole}, where the results differ most; the values are of the whole image.`;
}
