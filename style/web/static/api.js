// Requests to this page's own server; what is refused becomes an Error with the server's line.

async function answer(response) {
  if (response.status === 204) return null;
  const text = await response.text();
  let found = null;
  try { found = JSON.parse(text); } catch { /* a line of text */ }
  if (!response.ok) throw new Error(found?.refused || text || `error ${response.status}`);
  return found;
}

export const get = async (path) => answer(await fetch(path));

export const post = async (path, data, signal) => answer(await fetch(path, {
  method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(data ?? {}),
}));

export const send = async (file) => answer(await fetch("uploads", {
  method: "POST", body: file,
  headers: { "Content-Type": file.type || "application/octet-stream", "X-Name": encodeURIComponent(file.name) },
}));
