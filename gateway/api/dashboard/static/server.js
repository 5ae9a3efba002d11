// What the page asks of the gateway. The browser itself adds the key that its user gave.

const BASE = new URL("../", import.meta.url);

export const address = (path) => new URL(path, BASE);

/** The JSON at a path; an Error with the gateway's own words where there is none. */
export async function read(path) {
  return checked(await fetch(address(path))).then((response) => response.json());
}

/** An answer to a body of JSON. */
export async function post(path, body, options = {}) {
  const headers = { "content-type": "application/json", ...options.headers };
  return checked(await fetch(address(path), { ...options, headers, method: "POST", body: JSON.stringify(body) }));
}

async function checked(response) {
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `The gateway answered ${response.status}.`);
}
