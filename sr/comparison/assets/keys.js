// Keyboard operation, while the focus is inside the viewer.

const PAN_STEP = 48; // CSS pixels
const BOX_STEP = 4; // image pixels
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Call the viewer's methods for keys. Fields that use a key themselves come first. */
function attachKeys(viewer) {
  viewer.root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || usesKey(event.target, event.key)) return;
    if (handleKey(viewer, event)) event.preventDefault();
  });
}

/** Return whether the focused element does something of its own with this key. */
function usesKey(element, key) {
  if (element.matches("select, textarea, input:not([type=radio], [type=checkbox])")) return true;
  if (element.matches("input")) return key === " " || key in ARROWS;
  return element.matches("button, a, summary, .bars") && (key === " " || key === "Enter" || key in ARROWS);
}

/** Do what a key stands for; return whether it stands for something. */
function handleKey(viewer, { key, shiftKey }) {
  const action = viewer.blind ? findBlindAction(viewer, key) : findAction(viewer, key);
  if (action) action();
  else if (key in ARROWS) moveByArrow(viewer, ARROWS[key], shiftKey);
  else if (key === "+" || key === "=") viewer.zoomStep(1);
  else if (key === "-") viewer.zoomStep(-1);
  else if (key === "0") viewer.fit();
  else return false;
  return true;
}

function findAction(viewer, key) {
  const actions = {
    " ": () => viewer.flip(), s: () => viewer.setMode("side"), l: () => viewer.setMode("slider"),
    f: () => viewer.setMode("flicker"), e: () => viewer.cycleShown(), b: () => viewer.startBlind(),
    n: () => viewer.stepScene(1), p: () => viewer.stepScene(-1), c: () => viewer.copyFigure(), x: () => viewer.swapPair(),
  };
  if (/^[1-9]$/.test(key)) return () => viewer.pressNumber(Number(key) - 1);
  return actions[key.toLowerCase()];
}

function findBlindAction(viewer, key) {
  return {
    1: () => viewer.answerBlind(0), 2: () => viewer.answerBlind(1), 3: () => viewer.answerBlind(null),
    Escape: () => viewer.endBlind(),
  }[key];
}

function moveByArrow(viewer, [dx, dy], isBox) {
  if (isBox && !viewer.blind) viewer.moveBox(dx * BOX_STEP, dy * BOX_STEP);
  else if (viewer.mode === "slider" && !viewer.blind && dx) viewer.setDivider(viewer.divider + 0.02 * dx);
  else viewer.panBy(-dx * PAN_STEP, -dy * PAN_STEP);
}
