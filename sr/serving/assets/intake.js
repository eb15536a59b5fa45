// The three ways in: a file dialog, a drop anywhere on the page, and the clipboard.

/**
 * Call onFiles(files), or onNothing(text) if what was dropped or pasted is no file. `sign` is shown while something is dragged
 * over the page.
 */
function attachIntake(input, sign, onFiles, onNothing) {
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // the same file may be chosen again
    if (files.length) onFiles(files);
  });

  let depth = 0; // dragenter and dragleave also come from the elements inside
  const showSign = (change) => {
    depth = Math.max(0, depth + change);
    sign.hidden = depth === 0;
  };
  document.addEventListener("dragenter", () => showSign(1));
  document.addEventListener("dragleave", () => showSign(-1));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // else the browser leaves this page and opens the file, or the link
    showSign(-depth);
    const files = listFiles(event.dataTransfer);
    if (files.length) onFiles(files);
    else onNothing("Drop files of images, not folders or links.");
  });

  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) {
      event.preventDefault();
      onFiles(files);
    } else if (!event.target.closest?.("input")) onNothing("The clipboard holds no image.");
  });
}

/** Return the dropped files; a folder is left out, because its content cannot be sent. */
function listFiles(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  return items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile()).filter(Boolean);
}
