// Calls the API. An error is an Error whose message is the server's line.

export class ApiError extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

export async function call(method, path, { json, body, signal } = {}) {
  const headers = json === undefined ? {} : { "content-type": "application/json" };
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal, credentials: "same-origin", body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the server does not answer; is it still running?");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const line = await response.json().then((answer) => answer.error, () => response.statusText);
  throw new ApiError(response.status, line);
}
