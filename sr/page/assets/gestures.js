// Mouse, pen and touch on a stage, which holds figures with a canvas each: drag, pinch, wheel and click, in device pixels of the pane below the pointer.

const DIVIDER_REACH = 24; // CSS pixels at which the divider of the slider is caught
const CLICK_DISTANCE = 5; // CSS pixels that a pointer may move in a click
const WHEEL_STEP = 60; // of deltaY, for one zoom level

/**
 * Call the handlers for gestures on `stage`.
 * pan(dx, dy), pinch(factor, point), wheel(direction, point), click(point), hover(point), slide(share, isStart): the last
 * returns true if a pointer at this share of the pane's width has caught the divider. The wheel belongs to the page while
 * `hasWheel()` is false; with Ctrl it always zooms.
 */
function attachGestures(stage, handlers, hasWheel = () => stage.contains(document.activeElement)) {
  const pointers = new Map(); // id -> last position
  let start = null, isSliding = false, distance = 0, wheel = 0;

  stage.addEventListener("pointerdown", (event) => {
    const place = locate(event);
    if (!place || event.button !== 0) return;
    pointers.set(event.pointerId, place);
    if (pointers.size === 1) {
      start = place;
      isSliding = handlers.slide(place.share, DIVIDER_REACH / place.rect.width);
    }
    distance = measureDistance(pointers);
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId), place = locate(event, before?.canvas);
    if (!place) return;
    if (!before) {
      if (event.pointerType === "mouse") handlers.hover(place.point);
      return;
    }
    if (isFar(start, place) && !stage.hasPointerCapture(event.pointerId)) stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place);
    if (pointers.size === 2) {
      const now = measureDistance(pointers);
      if (distance > 0) handlers.pinch(now / distance, findMiddle(pointers));
      distance = now;
      start = null; // not a click
    } else if (isSliding) {
      handlers.slide(place.share, null);
    } else if (isFar(start, place)) {
      handlers.pan(place.point.x - before.point.x, place.point.y - before.point.y);
    }
  });

  const end = (event) => {
    const place = pointers.get(event.pointerId);
    const isClick = event.type === "pointerup" && place && pointers.size === 1 && start && !isFar(start, place) && !isSliding;
    pointers.delete(event.pointerId);
    distance = measureDistance(pointers);
    if (isClick) handlers.click(place.point);
    if (pointers.size === 0) {
      start = null;
      isSliding = false;
    }
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);

  stage.addEventListener("wheel", (event) => {
    // Without the focus, the wheel scrolls a long page: a stage as wide as the page must not stop it.
    const place = locate(event);
    if (!place || !(event.ctrlKey || hasWheel())) return;
    event.preventDefault();
    wheel += event.deltaY * (event.deltaMode === 1 ? WHEEL_STEP / 3 : 1);
    if (Math.abs(wheel) < WHEEL_STEP) return;
    handlers.wheel(wheel < 0 ? 1 : -1, place.point);
    wheel = 0;
  }, { passive: false });
}

/** Return where an event is in the canvas below it, or in `canvas`; null if there is none. */
function locate(event, canvas = event.target.closest("figure")?.querySelector("canvas")) {
  if (!canvas) return null;
  const rect = canvas.getBoundingClientRect(), ratio = canvas.width / rect.width;
  const x = event.clientX - rect.left, y = event.clientY - rect.top;
  const point = { x: x * ratio, y: y * ratio };
  return { canvas, rect, x, y, point, share: x / rect.width, clientX: event.clientX, clientY: event.clientY };
}

function isFar(a, b) {
  return !a || Math.hypot(a.x - b.x, a.y - b.y) > CLICK_DISTANCE;
}

function measureDistance(pointers) {
  if (pointers.size !== 2) return 0;
  const [a, b] = [...pointers.values()];
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); // the fingers may be on different panes
}

function findMiddle(pointers) {
  const [a, b] = [...pointers.values()];
  return { x: (a.point.x + b.point.x) / 2, y: (a.point.y + b.point.y) / 2 };
}
