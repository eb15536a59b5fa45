// Images as the browser shows them, and texts about files. A space between a number and its unit does not break.

/** Return a decoded image of an object URL; null if this browser cannot show the format. */
async function loadImage(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return image.naturalWidth && image.naturalHeight ? image : null;
}

/** Return a number of bytes in words, such as 3.4 MB. */
function formatBytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000;
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)}\u00a0${units[unit]}`;
}

/** Return a time in words: 40 ms, 1.4 s, 12 s, 2 min 5 s. */
function formatSeconds(seconds) {
  if (seconds < 0.9995) return `${Math.round(1000 * seconds)}\u00a0ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)}\u00a0s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole}\u00a0s` : `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s`;
}

/** Return the name of a format for a media type: image/svg+xml -> SVG. */
function formatType(type) {
  return type.replace(/^.*\/(x-)?/, "").replace(/[;+].*$/, "").toUpperCase();
}

/** Return the name of a result: photo.jpg, 2 and image/png -> photo_x2.png. */
function nameResult(name, scale, type) {
  const suffix = { JPEG: "jpg", TIFF: "tif", "X-MS-BMP": "bmp", JP2: "jp2" }[formatType(type)];
  return `${name.replace(/\.[^.]+$/, "")}_x${scale}.${suffix ?? formatType(type).toLowerCase()}`;
}
