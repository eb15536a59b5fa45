// Requests to the server that this page came from. Addresses are relative, so that a proxy may serve it below a path.

class RequestError extends Error {
  /**
   * `canRepeat`: whether the same request may succeed later; `retryAfter`: seconds after which the server wants it to be sent
   * again, null if it does not.
   */
  constructor(message, canRepeat = false, retryAfter = null) {
    super(message);
    Object.assign(this, { canRepeat, retryAfter });
  }
}

const RETRY_STATUS = [429, 503], DEFAULT_RETRY = 2; // seconds

/** Return what the server says about its network and limits. */
async function requestInfo() {
  const answer = await fetch("info");
  if (!answer.ok) throw new RequestError(readSentence(await answer.text(), answer.status));
  return answer.json();
}

/**
 * Send an image; return {blob, type, seconds, lost}; `lost`: what of the image is not in the result. `options`: of the query.
 * onProgress(share) is called while the image is being sent; a share of 1: the server has it. Rejects with a RequestError,
 * or with the AbortError of `signal`.
 */
function requestUpscaling(file, options, { signal, onProgress }) {
  const request = new XMLHttpRequest(); // fetch does not report how much has been sent
  const given = Object.entries(options).filter(([, value]) => value !== "");
  return new Promise((resolve, reject) => {
    let sentAt = performance.now();
    request.open("POST", `upscale?${new URLSearchParams(given)}`);
    request.responseType = "blob";
    // Any other file, too: the server's answer says what it is by its content.
    request.setRequestHeader("Content-Type", file.type.startsWith("image/") ? file.type : "application/octet-stream");
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : 0);
    request.upload.onload = () => {
      sentAt = performance.now();
      onProgress(1);
    };
    request.onload = async () => {
      if (request.status !== 200) return reject(await readError(request));
      const seconds = (performance.now() - sentAt) / 1000;
      const lost = request.getResponseHeader("X-Not-In-Result");
      return resolve({ blob: request.response, type: request.response.type, seconds, lost });
    };
    request.onerror = () => reject(new RequestError(
      navigator.onLine ? "The server does not answer, or it closed the connection." : "There is no network connection.", true,
    ));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

/** Return the error that an answer stands for: its JSON sentence, or its status. */
async function readError(request) {
  const text = readSentence(await request.response.text(), request.status);
  const seconds = Number(request.getResponseHeader("Retry-After")) || DEFAULT_RETRY;
  return new RequestError(text, request.status >= 500, RETRY_STATUS.includes(request.status) ? seconds : null);
}

/** Return the sentence of an answer {"error": sentence}. Of a proxy's page only the status is of use. */
function readSentence(text, status) {
  try {
    return JSON.parse(text).error || `The server answered with status ${status}.`;
  } catch {
    return `The server answered with status ${status}.`;
  }
}
